//! The verbs: one file each.

pub(crate) mod analyze;
pub(crate) mod compare;
pub(crate) mod completions;
pub(crate) mod data;
mod dry_run;
pub(crate) mod embed;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod merge;
pub(crate) mod pretrain;
pub(crate) mod probe;
pub(crate) mod report;

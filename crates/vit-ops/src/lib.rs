//! The one backend trait, its kernels, and process settings

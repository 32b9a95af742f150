//! What `cargo xtask new` writes keeps the contract of its kind: the templates themselves are compiled here.

#[allow(unreachable_pub, reason = "it is written for a crate that makes it public")]
#[path = "../../xtask/templates/analysis.rs"]
mod analysis_template;
#[allow(unreachable_pub, reason = "it is written for a crate that makes it public")]
#[path = "../../xtask/templates/objective.rs"]
mod objective_template;
#[allow(unreachable_pub, reason = "it is written for a crate that makes it public")]
#[path = "../../xtask/templates/probe.rs"]
mod probe_template;

use testkit::conformance::{
    StudyTrial, objective_keeps_its_contract, options_are_strict, rows_are_sayable, study_keeps_its_contract,
};
use toml::Table;
use vit_features::study;
use vit_train::method;

#[test]
fn a_scaffolded_objective_keeps_the_contract_of_objectives() {
    rows_are_sayable(&[method::<objective_template::Template>().info]);
    objective_keeps_its_contract::<objective_template::Template>("");
}

#[test]
fn a_scaffolded_probe_and_analysis_keep_the_contract_of_studies() {
    for row in [study::<probe_template::Template>(), study::<analysis_template::Template>()] {
        rows_are_sayable(&[row.info]);
        options_are_strict(row.info.name, &row.resolve);
        study_keeps_its_contract(&StudyTrial::new(), &row, &Table::new());
    }
}

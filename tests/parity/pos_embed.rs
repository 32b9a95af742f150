//! Kind `pos_embed`: position tables resampled by each family's convention.

use testkit::HostTensor;
use testkit::golden::cases;
use vit_core::{Grid, Resample, resample_table};

#[test]
fn position_tables_are_resampled_as_timm_mae_and_dino_do() {
    for case in cases("pos_embed") {
        let grid = |key: &str| {
            let sides = case.counts(key);
            Grid { rows: sides[0], columns: sides[1] }
        };
        let (from, to) = (grid("from"), grid("to"));
        let table = case.tensor("table");
        let &[_, n_rows, width] = table.shape.as_slice() else {
            panic!("{}: table {:?}", case.name, table.shape)
        };
        let n_prefix = n_rows - from.n_patches();
        let conventions = [
            ("timm_antialias", Resample::Antialias),
            ("size_based", Resample::Size),
            ("dino_offset", Resample::Offset),
        ];
        for (name, convention) in conventions {
            let ours = resample_table(&table.to_f32(), width, n_prefix, (from, to), convention);
            case.assert_near(name, &HostTensor::from_f32([1, n_prefix + to.n_patches(), width], &ours));
        }
    }
}

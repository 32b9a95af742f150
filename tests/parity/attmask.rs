//! Kind `attmask`: which patches are hidden for an attention.

use ssl_pretrain::{AttentionMaskConfig, MaskStrategy, StepDraw};
use testkit::HostTensor;
use testkit::golden::cases;
use vit_data::Seed;

#[test]
fn attention_hides_the_official_patches() {
    for case in cases("attmask") {
        let attention = case.tensor("attention");
        let (values, n_patches) = (attention.to_f32(), attention.shape[1]);
        let ratios = case.meta.config["ratios"].as_array().expect("a list");
        for ratio in ratios.iter().map(|ratio| ratio.as_f64().expect("a number")) {
            for (name, strategy) in [("high", MaskStrategy::High), ("low", MaskStrategy::Low)] {
                let rule =
                    AttentionMaskConfig { strategy, masking_prob: 1.0, ..AttentionMaskConfig::default() };
                let step = StepDraw { ratio, shown: ratio };
                let masks = values
                    .chunks_exact(n_patches)
                    .flat_map(|attention| rule.mask(attention, step, &mut Seed(0).stream("mask", &[0])));
                let masks: Vec<f64> = masks.map(|hidden| f64::from(u8::from(hidden))).collect();
                let ours = HostTensor::new(attention.shape.clone(), masks);
                case.assert_near(&format!("{name}.{ratio}"), &ours);
            }
        }
    }
}

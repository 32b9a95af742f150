//! Features of two layers of a random encoder, for some of the built-in images.
//!
//! ```sh
//! cargo run -p vit-features --example extract
//! ```

use std::io::{Write, stdout};
use std::sync::Arc;
use vit_core::{Backbone, arch, stream};
use vit_data::{Split, ViewPlan, transform::Normalize};
use vit_features::{Lab, Passage, Role, Source, extract, parse_selects};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = arch("vit:dim=32,depth=3,heads=4,patch=8,image=64")?;
    let device = vit_ops::cpu_device();
    let model = Backbone::Vit(config.init(&device, &mut stream(0)));
    let lab = Lab {
        source: Source::Model(&model),
        plan: ViewPlan::whole(64, Normalize::HALF),
        batch: 16,
        n_threads: 1,
        device,
        shelf: None,
    };
    let data: Arc<dyn vit_data::Dataset> = Arc::from(vit_data::open("part-shapes", Split::Test, 0)?);
    let passage = Passage { role: Role::Test, data, indices: Arc::new((0..32).collect()) };
    let selects = parse_selects("block*.cls,norm.patches", &model)?;
    let features = extract(&lab, &passage, &selects, &mut |_| Ok(()))?;
    let mut out = stdout().lock();
    for (select, (shape, values)) in &features.arrays {
        writeln!(out, "{select}: {shape:?}, first value {}", values[0])?;
    }
    Ok(())
}

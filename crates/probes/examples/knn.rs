//! The nearest neighbors of every layer of a random encoder, on some of the built-in images.
//!
//! ```sh
//! cargo run -p probes --example knn
//! ```

use std::io::{Write, stdout};
use std::sync::Arc;
use vit_core::{Backbone, arch, stream};
use vit_data::{Dataset, Split, ViewPlan, transform::Normalize};
use vit_features::{Lab, Layers, Passage, Role, Shapes, Source, observe};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = arch("vit:dim=32,depth=3,heads=4,patch=8,image=64")?;
    let device = vit_ops::cpu_device();
    let model = Backbone::Vit(config.init(&device, &mut stream(0)));
    let open = |split| vit_data::open("part-shapes", split, 0).map(Arc::<dyn Dataset>::from);
    let (train, test) = (open(Split::Train)?, open(Split::Test)?);
    let row = probes::PROBES.iter().find(|row| row.info.name == "knn").ok_or("no such study")?;
    let shapes = Shapes::of(&model, "random", 64, &Layers::All)?.on(Some(&*train), &*test);
    let mut studies = vec![(row.open)(&toml::Table::new(), &shapes)?];
    let lab = Lab {
        source: Source::Model(&model),
        plan: ViewPlan::whole(64, Normalize::HALF),
        batch: 32,
        n_threads: 1,
        device,
        shelf: None,
    };
    for (role, data, n) in [(Role::Train, train, 240), (Role::Test, test, 120)] {
        let passage = Passage { role, data, indices: Arc::new((0..n).collect()) };
        observe(&lab, &passage, &mut studies, &mut |_| Ok(()))?;
    }
    let mut out = stdout().lock();
    for study in studies {
        for metric in study.finish()?.metrics {
            writeln!(out, "{} {:?} {:.4} {}", metric.name, metric.layer, metric.value, metric.unit)?;
        }
    }
    Ok(())
}

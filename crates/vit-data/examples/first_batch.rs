//! The first batch of a data set, as two random views of each picture.
//!
//! ```sh
//! cargo run -p vit-data --example first_batch                      # a folder of made-up pictures
//! cargo run -p vit-data --example first_batch -- folder:my-photos  # or any data that `vitscope` reads
//! ```

use std::{
    error::Error,
    io::{Write, stdout},
    path::Path,
    sync::Arc,
};

use vit_data::{Crop, Loader, LoaderOptions, Order, Split, ViewPlan, ViewSpec, transform::Normalize};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let uri = match std::env::args().nth(1) {
        Some(uri) => uri,
        None => {
            make_pictures(folder.path())?;
            format!("folder:{}", folder.path().display())
        }
    };
    let seed = vit_data::Seed(0);
    let dataset: Arc<dyn vit_data::Dataset> = Arc::from(vit_data::open(&uri, Split::Train, seed.0)?);

    let crop = Crop::RandomResized { scale: (0.2, 1.0), ratio: (0.75, 4.0 / 3.0) };
    let spec = ViewSpec { flip_prob: 0.5, ..ViewSpec::plain(crop, 32, Normalize::IMAGENET) };
    let plan = ViewPlan { views: vec![spec, spec] };
    plan.check()?;

    let options = LoaderOptions { batch: 4, threads: 2, seed, ..LoaderOptions::default() };
    let mut loader = Loader::new(Arc::clone(&dataset), Order::Shuffled, plan, options);
    let mut out = stdout().lock();
    writeln!(out, "{}: {} samples, {} batches", dataset.name(), dataset.len(), loader.n_batches())?;
    let batch = loader.next().ok_or("an empty data set")??;
    for (row, id) in batch.ids.iter().enumerate() {
        writeln!(out, "{id}, class {:?}", batch.labels[row])?;
        for view in &batch.views {
            let at = view.boxes[row];
            let mirrored = if at.flipped { ", mirrored" } else { "" };
            writeln!(
                out,
                "  a view of {:?} from {}×{} px at ({}, {}){mirrored}",
                view.shape, at.w, at.h, at.x, at.y
            )?;
        }
    }
    Ok(())
}

/// Two classes of five pictures: stripes that lie, and stripes that stand.
fn make_pictures(folder: &Path) -> Result<(), Box<dyn Error>> {
    for (class, lying) in [("lying", true), ("standing", false)] {
        std::fs::create_dir_all(folder.join(class))?;
        for i in 0..5u32 {
            let picture = image::RgbImage::from_fn(48, 40, |x, y| {
                let along = if lying { y } else { x };
                image::Rgb([if along / (2 + i) % 2 == 0 { 220 } else { 30 }; 3])
            });
            picture.save(folder.join(class).join(format!("{i}.png")))?;
        }
    }
    Ok(())
}

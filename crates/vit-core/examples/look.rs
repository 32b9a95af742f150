//! A Vision Transformer, and what somebody who looks sees at each block.
//!
//! ```sh
//! cargo run -p vit-core --example look
//! cargo run -p vit-core --example look -- vit-ti/16
//! ```

use burn::tensor::Tensor;
use std::io::{Write, stdout};
use vit_core::{Look, Pass, Seen, Site, arch, stream};

/// Keeps the mean length of the tokens after every block.
#[derive(Default)]
struct Lengths(Vec<(Site, f32)>);

impl Look for Lengths {
    fn wants(&self, site: Site) -> bool {
        matches!(site, Site::Block(_))
    }

    fn see(&mut self, site: Site, seen: Seen) {
        if let Seen::Tokens(tokens) = seen {
            let length = tokens.powi_scalar(2).sum_dim(2).sqrt().mean();
            self.0.push((site, length.into_scalar::<f32>()));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words = std::env::args().nth(1);
    let config = arch(words.as_deref().unwrap_or("vit:dim=32,depth=3,heads=4,patch=8,image=32"))?;
    let device = vit_ops::cpu_device();
    let model = config.init(&device, &mut stream(0));
    let pixels = Tensor::<4>::ones([1, 3, config.image_px, config.image_px], &device);
    let mut lengths = Lengths::default();
    let tokens = model.encode(pixels, &mut Pass::look(&mut lengths));
    let mut out = stdout().lock();
    writeln!(out, "{} parameters, {} MACs", config.n_params(), config.macs(config.grid().n_patches()))?;
    writeln!(out, "tokens {:?}, {} of them before the patches", tokens.all.dims(), tokens.n_prefix)?;
    for (site, length) in lengths.0 {
        writeln!(out, "{site}: mean length {length:.3}")?;
    }
    Ok(())
}

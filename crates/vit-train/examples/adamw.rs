//! AdamW with warm-up and clipping, on one linear layer that learns to double its input.
//!
//! ```sh
//! cargo run -p vit-train --example adamw
//! ```

use burn::tensor::Tensor;
use std::io::{Write, stdout};
use vit_core::{Draw, InitScheme, Linear, stream};
use vit_train::{AdamW, Grads, Rates, schedule::warmup_cosine};

fn main() -> std::io::Result<()> {
    let device = vit_ops::cpu_device().autodiff();
    let mut draw = Draw { stream: &mut stream(0), device: &device, scheme: InitScheme::Timm };
    let mut layer = Linear::init(2, 2, true, &mut draw);
    let x = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device);
    let mut optimizer = AdamW::new(0.9, 0.999, 1e-8);
    let mut out = stdout().lock();
    for step in 0..200 {
        let difference = layer.forward(x.clone()) - x.clone().mul_scalar(2.0);
        let loss = difference.powi_scalar(2).mean();
        let value = loss.clone().into_scalar::<f32>();
        let (grads, norm) = Grads::of(&layer, loss.backward()).clip_global(1.0);
        let lr = warmup_cosine(f64::from(step), 10.0, 200.0, 0.1, 0.0);
        let rates = |name: &str, _: &[usize]| Rates {
            lr,
            weight_decay: if name.ends_with("bias") { 0.0 } else { 1e-4 },
        };
        layer = optimizer.step(layer, grads, &rates);
        if step % 50 == 0 || step == 199 {
            writeln!(out, "step {step}: loss {value:.6}, norm of the gradient {norm:.4}, lr {lr:.4}")?;
        }
    }
    Ok(())
}

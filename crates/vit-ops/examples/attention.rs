//! One attention over a batch of tokens, and the gradient through it.
//!
//! ```sh
//! cargo run -p vit-ops --example attention
//! ```

use burn::tensor::Tensor;
use std::io::{Write, stdout};

fn main() -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "kernels: {}", vit_ops::kernel_path())?;
    let device = vit_ops::cpu_device().autodiff();
    // [B, T, 3·D] = [1, 4, 3·6]: queries, keys and values of four tokens, two heads of three.
    let values: Vec<f32> = (0..72).map(|i| (i as f32 * 0.7).sin()).collect();
    let qkv = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([1, 4, 18]).require_grad();
    let attended = vit_ops::attention(qkv.clone(), 2); // [1, 4, 6]
    writeln!(
        out,
        "{} → {}",
        qkv.dims().map(|n| n.to_string()).join("×"),
        attended.dims().map(|n| n.to_string()).join("×")
    )?;
    let grads = attended.powi_scalar(2).sum().backward();
    if let Some(grad) = qkv.grad(&grads) {
        writeln!(out, "gradient: {}", grad.abs().mean().into_scalar::<f32>())?;
    }
    Ok(())
}

//! One pass over memory each: GELU and the gated activations with their gradients, AdamW, the moving average.

use super::buffer::fill;
use super::simd::{CHUNK, exp, fold, in_lanes, normal, simd};
use crate::{AdamWStep, Curve, Gate};
use rayon::prelude::*;

simd! {
    fn gelu_into(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * normal(x).0;
        }
    }
}

simd! {
    fn gelu_backward_into(x: &[f32], grad: &[f32], dx: &mut [f32]) {
        for ((dx, &x), &grad) in dx.iter_mut().zip(x).zip(grad) {
            let (cdf, density) = normal(x);
            *dx = grad * (cdf + x * density);
        }
    }
}

/// `x·Φ(x)`
pub(super) fn gelu(x: &[f32]) -> Vec<f32> {
    fill(x.len(), CHUNK, |at, y| gelu_into(&x[at * CHUNK..][..y.len()], y))
}

/// `dy·(Φ(x) + x·φ(x))`
pub(super) fn gelu_backward(x: &[f32], grad: &[f32]) -> Vec<f32> {
    fill(x.len(), CHUNK, |at, dx| {
        let here = at * CHUNK..at * CHUNK + dx.len();
        gelu_backward_into(&x[here.clone()], &grad[here], dx);
    })
}

simd! {
    fn gated_into(x: &[f32], y: &mut [f32], linear: f32, cubic: f32) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x / (1.0 + exp(-x * (linear + cubic * (x * x))));
        }
    }
}

simd! {
    fn gated_backward_into(x: &[f32], grad: &[f32], dx: &mut [f32], linear: f32, cubic: f32) {
        for ((dx, &x), &grad) in dx.iter_mut().zip(x).zip(grad) {
            let open = 1.0 / (1.0 + exp(-x * (linear + cubic * (x * x))));
            let slope = linear + 3.0 * cubic * (x * x);
            *dx = grad * (open * (1.0 + x * slope * (1.0 - open)));
        }
    }
}

/// `x·σ(g(x))`
pub(super) fn gated(x: &[f32], gate: Gate) -> Vec<f32> {
    let (linear, cubic) = (gate.linear as f32, gate.cubic as f32);
    fill(x.len(), CHUNK, |at, y| gated_into(&x[at * CHUNK..][..y.len()], y, linear, cubic))
}

/// `dy·σ(g)·(1 + x·g'·(1 − σ(g)))`
pub(super) fn gated_backward(x: &[f32], grad: &[f32], gate: Gate) -> Vec<f32> {
    let (linear, cubic) = (gate.linear as f32, gate.cubic as f32);
    fill(x.len(), CHUNK, |at, dx| {
        let here = at * CHUNK..at * CHUNK + dx.len();
        gated_backward_into(&x[here.clone()], &grad[here], dx, linear, cubic);
    })
}

simd! {
    fn gelu_with_slope(x: &mut [f32], y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            let (cdf, density) = normal(*x);
            *y = *x * cdf;
            *x = cdf + *x * density;
        }
    }
}

simd! {
    fn gated_with_slope(x: &mut [f32], y: &mut [f32], linear: f32, cubic: f32) {
        for (y, x) in y.iter_mut().zip(x) {
            let square = *x * *x;
            let open = 1.0 / (1.0 + exp(-*x * (linear + cubic * square)));
            *y = *x * open;
            *x = open * (1.0 + *x * (linear + 3.0 * cubic * square) * (1.0 - open));
        }
    }
}

/// An activation of one thread's values, over which its slope is written: the exponential in both is taken once.
pub(super) fn curve_with_slope(x: &mut [f32], y: &mut [f32], curve: Curve) {
    match curve {
        Curve::Gelu => gelu_with_slope(x, y),
        Curve::Gated(Gate { linear, cubic }) => gated_with_slope(x, y, linear as f32, cubic as f32),
    }
}

simd! {
    /// `out = a∘b`
    fn product_into(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = a * b;
        }
    }
}

simd! {
    fn gelu_in_place(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x *= normal(*x).0;
        }
    }
}

simd! {
    fn gated_in_place(x: &mut [f32], linear: f32, cubic: f32) {
        for x in x.iter_mut() {
            *x /= 1.0 + exp(-*x * (linear + cubic * (*x * *x)));
        }
    }
}

/// An activation over one thread's values themselves.
pub(super) fn curve_in_place(x: &mut [f32], curve: Curve) {
    match curve {
        Curve::Gelu => gelu_in_place(x),
        Curve::Gated(Gate { linear, cubic }) => gated_in_place(x, linear as f32, cubic as f32),
    }
}

simd! {
    fn squares(x: &[f32]) -> f32 {
        fold(in_lanes(x, 0.0, |sum, x| sum + x * x))
    }
}

/// `Σ x²`: chunks in f32, then in order in f64.
pub(super) fn sum_of_squares(x: &[f32]) -> f64 {
    const SHORT: usize = 4096;
    let parts: Vec<f64> = x.par_chunks(SHORT).map(|x| f64::from(squares(x))).collect();
    parts.iter().sum()
}

simd! {
    fn adamw_chunk(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], scalars: [f32; 7]) {
        let [keep, beta1, rest1, beta2, rest2, rate, eps_rate] = scalars;
        for (((p, &g), m), v) in param.iter_mut().zip(grad).zip(m.iter_mut()).zip(v.iter_mut()) {
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * (g * g);
            // lr·m̂ / (√v̂ + ε), with both bias corrections moved out of the loop
            *p = keep * *p - rate * *m / (v.sqrt() + eps_rate);
        }
    }
}

/// The AdamW step in one pass; see [`AdamWStep`].
pub(super) fn adamw(param: &mut [f32], grad: &[f32], m: &mut [f32], v: &mut [f32], step: AdamWStep) {
    let AdamWStep { lr, weight_decay, beta1, beta2, eps, t } = step;
    let (debias1, root2) = (1.0 - beta1.powi(t as i32), (1.0 - beta2.powi(t as i32)).sqrt());
    let scalars =
        [1.0 - lr * weight_decay, beta1, 1.0 - beta1, beta2, 1.0 - beta2, lr / debias1 * root2, eps * root2]
            .map(|x| x as f32);
    param
        .par_chunks_mut(CHUNK)
        .zip(grad.par_chunks(CHUNK))
        .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
        .for_each(|((p, g), (m, v))| adamw_chunk(p, g, m, v, scalars));
}

simd! {
    fn ema_chunk(teacher: &mut [f32], student: &[f32], momentum: f32, rest: f32) {
        for (t, &s) in teacher.iter_mut().zip(student) {
            *t = momentum * *t + rest * s;
        }
    }
}

/// `momentum·teacher + (1 − momentum)·student`, in place.
pub(super) fn ema(teacher: &mut [f32], student: &[f32], momentum: f32) {
    let rest = 1.0 - momentum;
    teacher
        .par_chunks_mut(CHUNK)
        .zip(student.par_chunks(CHUNK))
        .for_each(|(t, s)| ema_chunk(t, s, momentum, rest));
}

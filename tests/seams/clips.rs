//! A clip through an image encoder.

use burn::tensor::Tensor;
use testkit::{HostTensor, Tolerance, assert_near, tiny};
use vit_core::frames;

/// Kernels may add in another order for another batch size.
const NEAR: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };

#[test]
fn a_clip_fed_frame_by_frame_gives_what_each_frame_gives_alone() {
    let device = vit_ops::cpu_device();
    let (n_clips, n_frames) = (2, 3);
    let clip: Tensor<5> = tiny::sines([n_clips, 3, n_frames, 16, 16], 0.2, &device);
    for model in [tiny::vit(&tiny::vit_config(), 0), tiny::conv(0)] {
        let together = HostTensor::of(model.infer(frames(clip.clone())).all);
        let n_values = together.values.len() / (n_clips * n_frames);
        for (image, (b, f)) in (0..n_clips).flat_map(|b| (0..n_frames).map(move |f| (b, f))).enumerate() {
            let frame = clip.clone().slice([b..b + 1, 0..3, f..f + 1, 0..16, 0..16]).reshape([1, 3, 16, 16]);
            let alone = HostTensor::of(model.infer(frame).all);
            let ours = HostTensor::new(
                alone.shape.clone(),
                together.values[image * n_values..][..n_values].to_vec(),
            );
            assert_near(&format!("{}: frame {f} of clip {b}", model.kind()), &ours, &alone, NEAR);
        }
    }
}

//! Images to patches and back, one row of patches a task.

use super::buffer::fill;
use crate::{PatchCut, PatchOrder};

/// `[B, C, H, W]` → `[B, N, C·P·P]`
pub(super) fn patchify(pixels: &[f32], cut: PatchCut) -> Vec<f32> {
    let PatchCut { channels, rows, columns, patch_px: p, order } = cut;
    let (width, of_patch) = (columns * p, channels * p * p);
    let plane = rows * p * width;
    fill(pixels.len(), columns * of_patch, |at, out| {
        let (image, row) = (at / rows, at % rows);
        let image = &pixels[image * channels * plane..][..channels * plane];
        for (column, patch) in out.chunks_exact_mut(of_patch).enumerate() {
            for channel in 0..channels {
                for y in 0..p {
                    let line = &image[channel * plane + (row * p + y) * width + column * p..][..p];
                    match order {
                        PatchOrder::ChannelFirst => patch[(channel * p + y) * p..][..p].copy_from_slice(line),
                        PatchOrder::ChannelLast => {
                            let places = patch[y * p * channels + channel..].iter_mut().step_by(channels);
                            places.zip(line).for_each(|(place, &value)| *place = value);
                        }
                    }
                }
            }
        }
    })
}

/// `[B, N, C·P·P]` → `[B, C, H, W]`
pub(super) fn unpatchify(patches: &[f32], cut: PatchCut) -> Vec<f32> {
    let PatchCut { channels, rows, columns, patch_px: p, order } = cut;
    let (width, of_patch) = (columns * p, channels * p * p);
    // One task writes the lines of one row of patches in one channel.
    fill(patches.len(), p * width, |at, out| {
        let (row, channel, image) = (at % rows, at / rows % channels, at / (rows * channels));
        let patches = &patches[(image * rows + row) * columns * of_patch..][..columns * of_patch];
        for (column, patch) in patches.chunks_exact(of_patch).enumerate() {
            for y in 0..p {
                let line = &mut out[y * width + column * p..][..p];
                match order {
                    PatchOrder::ChannelFirst => line.copy_from_slice(&patch[(channel * p + y) * p..][..p]),
                    PatchOrder::ChannelLast => {
                        let places = patch[y * p * channels + channel..].iter().step_by(channels);
                        line.iter_mut().zip(places).for_each(|(value, &place)| *value = place);
                    }
                }
            }
        }
    })
}

//! Pixels to the pooled representation of a frozen Vision Transformer.

use crate::case::{Case, Error, images, named, weights};
use vit_core::{Backbone, arch, stream};

pub(crate) fn case(model: &str, batch: usize) -> Result<Case, Error> {
    let config = arch(model)?;
    let device = vit_ops::cpu_device();
    let vit = config.init(&device, &mut stream(0));
    let (pixels, input) = images(batch, config.image_px, &device);
    let mut tensors = weights(&vit);
    tensors.push(input);
    let backbone = Backbone::Vit(vit.clone());
    let work = move || {
        let tokens = backbone.infer(pixels.clone());
        Ok(vec![named("pooled", vit.pool(&tokens))?])
    };
    Ok(Case { tensors, work: Box::new(work) })
}

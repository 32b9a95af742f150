//! Kinds `dino_loss` and `dino_checkpoint`: the loss between views with its gradient and center; encoder and head of a
//! published checkpoint, student and teacher.

use burn::tensor::Tensor;
use ssl_pretrain::{HeadConfig, ProjectionHead, RowSum, centered_targets, cross_view_loss, next_center};
use std::collections::BTreeMap;
use testkit::HostTensor;
use testkit::golden::{Case, Tensors, cases, fill};
use vit_core::{Backbone, Draw, InitScheme, VitConfig, stream};

/// The dimensions of a tensor of the case.
fn shape(case: &Case, name: &str) -> Vec<usize> {
    case.tensor(name).shape.clone()
}

#[test]
fn the_loss_between_views_has_the_public_value_gradient_and_center() {
    for case in cases("dino_loss") {
        let device = vit_ops::cpu_device().autodiff();
        let plain = vit_ops::cpu_device();
        let &[n_targets, b, k] = shape(&case, "teacher_logits").as_slice() else { panic!("{}", case.name) };
        let teacher = case.tensor("teacher_logits").on::<3>(&plain).reshape([n_targets * b, k]);
        let center = case.tensor("center_before").on::<2>(&plain);
        let targets = centered_targets(teacher.clone(), &center, case.number("teacher_temp"));
        let student = case.tensor("student_logits").on::<3>(&device).require_grad();
        let targets = targets.reshape([n_targets, b, k]);
        let loss = cross_view_loss(student.clone(), targets, case.number("student_temp"));
        case.assert_near("loss", &HostTensor::of(loss.clone()));
        let grads = loss.backward();
        let grad = student.grad(&grads).expect("a gradient");
        case.assert_near("grad.student_logits", &HostTensor::of(grad));
        let center = next_center(center, RowSum::of(&teacher), case.number("center_momentum"));
        case.assert_near("center_after", &HostTensor::of(center));
    }
}

fn head_config(case: &Case) -> HeadConfig {
    let head = case.meta.config["head"].as_object().expect("a table").clone();
    let number = |key: &str| head[key].as_u64().expect("a count") as usize;
    HeadConfig {
        n_layers: number("layers"),
        hidden: number("hidden"),
        bottleneck: number("bottleneck"),
        out_dim: number("out"),
        norm_last_layer: true,
    }
}

/// The weights below a prefix, split into encoder and head.
fn split(weights: Tensors, prefix: &str) -> (Tensors, Tensors) {
    let (mut backbone, mut head) = (BTreeMap::new(), BTreeMap::new());
    for (name, tensor) in weights {
        let name = name.strip_prefix(prefix).unwrap_or(&name);
        match (name.strip_prefix("backbone."), name.strip_prefix("head.")) {
            (Some(name), _) => backbone.insert(name.to_owned(), tensor),
            (_, Some(name)) => head.insert(name.to_owned(), tensor),
            _ => panic!("`{name}` is neither encoder nor head"),
        };
    }
    (backbone, head)
}

#[test]
fn student_and_teacher_of_a_published_checkpoint_give_its_tokens_and_head_outputs() {
    for case in cases("dino_checkpoint") {
        let device = vit_ops::cpu_device();
        let encoder = VitConfig {
            image_px: case.needed("img_size"),
            patch_px: case.needed("patch_size"),
            width: case.needed("embed_dim"),
            depth: case.needed("depth"),
            n_heads: case.needed("num_heads"),
            ..VitConfig::default()
        };
        for (branch, prefix) in [("student", "module."), ("teacher", "")] {
            let (backbone, head) = split(case.weights(Some(branch)), prefix);
            let mut draws = stream(0);
            let vit = fill(encoder.init(&device, &mut draws), backbone, str::to_owned);
            let mut draw = Draw { stream: &mut draws, device: &device, scheme: InitScheme::Timm };
            let fresh: ProjectionHead = head_config(&case).init(encoder.width, None, &mut draw);
            let head = fill(fresh, head, str::to_owned);
            let tokens = Backbone::Vit(vit).infer(case.tensor("pixels").on::<4>(&device));
            case.assert_near(&format!("{branch}_tokens"), &HostTensor::of(tokens.all.clone()));
            let class: Tensor<2> = tokens.class().expect("a class token");
            let logits = head.class_logits(class);
            case.assert_near(&format!("{branch}_head_cls"), &HostTensor::of(logits));
        }
    }
}

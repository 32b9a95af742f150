//! Kinds `ibot_loss` and `ibot_patch_loss`: class and patch loss, their gradients, both centers.

use burn::tensor::Tensor;
use ssl_pretrain::{MaskedRows, RowSum, centered_targets, cross_view_loss, masked_patch_loss, next_center};
use testkit::HostTensor;
use testkit::golden::{Case, cases};

fn mask(case: &Case) -> Vec<bool> {
    case.tensor("mask").values.iter().map(|&hidden| hidden > 0.0).collect()
}

#[test]
fn class_and_patch_loss_have_the_official_values_gradients_and_centers() {
    for case in cases("ibot_loss") {
        let (plain, device) = (vit_ops::cpu_device(), vit_ops::cpu_device().autodiff());
        let (n_globals, n_locals) = (case.needed("n_global"), case.needed("n_local"));
        let teacher = case.tensor("teacher_cls").on::<2>(&plain);
        let [rows, k] = teacher.dims();
        let b = rows / n_globals;
        let leaf = |name: &str| case.tensor(name).on::<2>(&device).require_grad();
        let (global, local) = (leaf("student_cls_global"), leaf("student_cls_local"));
        let center = case.tensor("center_before").on::<2>(&plain);
        let targets = centered_targets(teacher.clone(), &center, case.number("teacher_temp"));
        let student = Tensor::cat(vec![global.clone(), local.clone()], 0);
        let student_temp = case.number("student_temp");
        let class = cross_view_loss(
            student.reshape([n_globals + n_locals, b, k]),
            targets.reshape([n_globals, b, k]),
            student_temp,
        )
        .mul_scalar(case.number("lambda_cls"));
        case.assert_near("loss_cls", &HostTensor::of(class.clone()));

        let patches = case.tensor("teacher_patch").on::<3>(&plain);
        let [images, n_patches, k] = patches.dims();
        let teacher_patch = patches.reshape([images * n_patches, k]);
        let student_patch = case.tensor("student_patch").on::<3>(&device).require_grad();
        let patch_center = case.tensor("center_patch_before").on::<2>(&plain);
        let masked = MaskedRows::of(&mask(&case), n_patches);
        let logits = masked.pick(teacher_patch.clone());
        let targets = centered_targets(logits, &patch_center, case.number("teacher_patch_temp"));
        let picked = masked.pick(student_patch.clone().reshape([images * n_patches, k]));
        let patch =
            masked_patch_loss(picked, targets, &masked, student_temp).mul_scalar(case.number("lambda_patch"));
        case.assert_near("loss_patch", &HostTensor::of(patch.clone()));
        let loss = class + patch;
        case.assert_near("loss", &HostTensor::of(loss.clone()));

        let grads = loss.backward();
        for (name, leaf) in [("student_cls_global", &global), ("student_cls_local", &local)] {
            let grad = leaf.grad(&grads).expect("a gradient");
            case.assert_near(&format!("grad.{name}"), &HostTensor::of(grad));
        }
        let grad = student_patch.grad(&grads).expect("a gradient");
        case.assert_near("grad.student_patch", &HostTensor::of(grad));

        let momentum = case.number("center_momentum");
        let after = next_center(center, RowSum::of(&teacher), momentum);
        case.assert_near("center_after", &HostTensor::of(after));
        let after = next_center(patch_center, RowSum::of(&teacher_patch), momentum);
        case.assert_near("center_patch_after", &HostTensor::of(after));
    }
}

#[test]
fn the_patch_loss_over_masked_rows_has_the_public_value_gradient_and_center() {
    for case in cases("ibot_patch_loss") {
        let (plain, device) = (vit_ops::cpu_device(), vit_ops::cpu_device().autodiff());
        let masked = MaskedRows::of(&mask(&case), case.tensor("mask").shape[1]);
        let teacher = case.tensor("teacher_logits_masked").on::<2>(&plain);
        let center = case.tensor("center_before").on::<2>(&plain);
        let targets = centered_targets(teacher.clone(), &center, case.number("teacher_temp"));
        let student = case.tensor("student_logits_masked").on::<2>(&device).require_grad();
        let loss = masked_patch_loss(student.clone(), targets, &masked, case.number("student_temp"));
        case.assert_near("loss", &HostTensor::of(loss.clone()));
        let grad = student.grad(&loss.backward()).expect("a gradient");
        case.assert_near("grad.student_logits_masked", &HostTensor::of(grad));
        let after = next_center(center, RowSum::of(&teacher), case.number("center_momentum"));
        case.assert_near("center_after", &HostTensor::of(after));
    }
}

//! The promises of part-shapes, one sentence each.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

fn opened(rest: &str, split: Split) -> Box<dyn Dataset> {
    open(rest, split, 0).expect("the split exists")
}

fn drawn(dataset: &dyn Dataset, index: usize) -> Sample {
    dataset.sample(index).expect("drawing does not fail")
}

fn rgb(sample: &Sample) -> &[u8] {
    match &sample.picture {
        Picture::Image(image) => &image.rgb,
        Picture::Normalized { .. } => panic!("part-shapes draws bytes"),
    }
}

fn mask(sample: &Sample) -> &[u8] {
    &sample.truth.mask.as_ref().expect("every sample has a mask").ids
}

fn parts(sample: &Sample) -> &[u8] {
    &sample.truth.parts.as_ref().expect("every sample has part masks").ids
}

/// Every split with all of its objects, some samples each.
fn some_objects() -> Vec<Sample> {
    let splits = ["train", "test", "cue-conflict", "clips"].map(|rest| opened(rest, Split::Test));
    splits.iter().flat_map(|split| (0..120).map(|index| drawn(&**split, index * 33))).collect()
}

#[test]
fn the_first_64_train_samples_of_seed_0_have_the_recorded_digest() {
    let train = opened("", Split::Train);
    let mut hasher = Sha256::new();
    for index in 0..64 {
        let sample = drawn(&*train, index);
        hasher.update(rgb(&sample));
        hasher.update(sample.truth.label.expect("labeled").to_le_bytes());
        hasher.update(mask(&sample));
        hasher.update(parts(&sample));
    }
    let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "9071cf08f340c088e840b532872417418eb59549f1568e1d445cc5de30f8a9de");
}

#[test]
fn a_sample_is_the_same_from_any_thread_and_in_any_order() {
    let train = opened("", Split::Train);
    let alone: Vec<Sample> = (0..96).map(|index| drawn(&*train, index)).collect();
    let together: Vec<Sample> = (0..96).into_par_iter().rev().map(|index| drawn(&*train, index)).collect();
    assert!(alone.iter().eq(together.iter().rev()));
}

#[test]
fn another_seed_or_split_draws_other_pictures() {
    let train = opened("train", Split::Train);
    let other = open("train", Split::Train, 1).expect("the split exists");
    let test = opened("test", Split::Test);
    assert_ne!(rgb(&drawn(&*train, 0)), rgb(&drawn(&*other, 0)));
    assert_ne!(rgb(&drawn(&*train, 0)), rgb(&drawn(&*test, 0)));
}

#[test]
fn a_part_mask_lies_within_the_object_mask() {
    for sample in some_objects() {
        let class = sample.truth.label.expect("a class") as u8 + 1;
        let semantic = &sample.truth.semantic.as_ref().expect("classes").ids;
        for ((&part, &object), &of_pixel) in parts(&sample).iter().zip(mask(&sample)).zip(semantic) {
            assert_eq!(part > 0, object == 1, "{}", sample.id);
            assert!(usize::from(part) <= PARTS.len(), "{}", sample.id);
            assert_eq!(of_pixel, object * class, "{}", sample.id);
        }
    }
}

#[test]
fn an_object_covers_a_fair_share_of_the_picture_and_shows_several_parts() {
    for sample in some_objects() {
        let share = mask(&sample).iter().filter(|&&id| id == 1).count() as f64 / (SIZE_PX * SIZE_PX) as f64;
        assert!((0.03..0.60).contains(&share), "{}: {share}", sample.id);
        let mut ids = parts(&sample).to_vec();
        ids.sort_unstable();
        ids.dedup();
        assert!(ids.len() >= 3, "{}: {ids:?}", sample.id);
    }
}

#[test]
fn a_visible_keypoint_lies_within_two_pixels_of_the_object_and_a_named_one_is_mostly_visible() {
    let (mut n_visible, mut n) = (0, 0);
    for sample in some_objects() {
        for keypoint in &sample.truth.keypoints {
            assert!(keypoint.name_idx < KEYPOINTS.len());
            n += 1;
            if !keypoint.visible {
                continue;
            }
            n_visible += 1;
            let (x, y) = keypoint.xy_in_image_px;
            let near = mask(&sample).iter().enumerate().any(|(idx, &id)| {
                let (dx, dy) = ((idx % SIZE_PX) as f32 + 0.5 - x, (idx / SIZE_PX) as f32 + 0.5 - y);
                id == 1 && dx * dx + dy * dy <= 4.0
            });
            assert!(near, "{}: {}", sample.id, KEYPOINTS[keypoint.name_idx]);
        }
    }
    assert!(n_visible * 10 > n * 8, "{n_visible} of {n}");
}

#[test]
fn objects_of_a_class_name_the_same_keypoints() {
    let train = opened("", Split::Train);
    let names = |index: usize| -> Vec<usize> {
        drawn(&*train, index).truth.keypoints.iter().map(|keypoint| keypoint.name_idx).collect()
    };
    for (class, name) in CLASSES.iter().enumerate() {
        let first = names(class);
        assert!(first.len() >= 3, "{name}");
        assert!((1..5).all(|round| names(class + 12 * round) == first), "{name}");
    }
}

#[test]
fn labels_are_balanced_and_known_without_drawing() {
    for (rest, split, n) in [("", Split::Train, 20_000), ("", Split::Test, 5_000), ("", Split::All, 25_000)] {
        let dataset = opened(rest, split);
        assert_eq!(dataset.len(), n);
        let mut counts = [0_usize; 12];
        for index in 0..n {
            counts[dataset.label(index).expect("labeled") as usize] += 1;
        }
        let (fewest, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(most.zip(fewest).is_some_and(|(most, fewest)| most - fewest <= 2), "{counts:?}");
        for index in [0, 17, n - 1] {
            assert_eq!(drawn(&*dataset, index).truth.label, dataset.label(index));
        }
    }
}

#[test]
fn a_cue_conflict_never_wears_the_home_texture_of_its_shape_and_train_often_does() {
    let n_at_home = |dataset: &dyn Dataset| {
        let samples = (0..480).into_par_iter().map(|index| drawn(dataset, index));
        samples.filter(|sample| sample.truth.texture == sample.truth.label).count()
    };
    assert_eq!(n_at_home(&*opened("cue-conflict", Split::Test)), 0);
    // 1/2 + 1/24 of 480 is 260, with a standard deviation of 11.
    assert!((215..305).contains(&n_at_home(&*opened("train", Split::Train))));
}

#[test]
fn a_background_is_its_test_scene_with_no_object_pixel_and_the_label_kept() {
    let (test, background) = (opened("test", Split::Test), opened("background", Split::Test));
    for index in 0..48 {
        let (with, without) = (drawn(&*test, index), drawn(&*background, index));
        assert!(mask(&without).iter().chain(parts(&without)).all(|&id| id == 0));
        assert!(without.truth.keypoints.is_empty());
        assert_eq!(with.truth.label, without.truth.label);
        // Where neither object nor shadow is, the two are the same bytes.
        let pixels = rgb(&with).chunks(3).zip(rgb(&without).chunks(3)).zip(mask(&with));
        let (mut n_same, mut n_changed_off) = (0, 0);
        for ((a, b), &object) in pixels {
            n_same += usize::from(a == b);
            n_changed_off += usize::from(a != b && object == 0);
        }
        assert!(n_same > 600 && n_changed_off < 2000, "{index}: {n_same} {n_changed_off}");
    }
}

#[test]
fn a_split_in_the_uri_is_what_is_tested_and_train_still_gives_train() {
    assert_eq!(opened("cue-conflict", Split::Test).name(), "part-shapes:cue-conflict");
    assert_eq!(opened("cue-conflict", Split::All).name(), "part-shapes:cue-conflict");
    assert_eq!(opened("cue-conflict", Split::Train).name(), "part-shapes:train");
    assert_eq!(opened("", Split::Test).name(), "part-shapes:test");
    let all = opened("", Split::All);
    assert_eq!(drawn(&*all, 20_003).id, "test/3");
    assert_eq!(drawn(&*all, 20_003), drawn(&*opened("test", Split::Test), 3));
    let wrong = open("tset", Split::Test, 0).err().expect("there is no such split").to_string();
    assert!(wrong.contains("cue-conflict") && wrong.contains("part-shapes:tset"), "{wrong}");
}

#[test]
fn a_clip_keeps_its_class_and_texture_and_moves_smoothly() {
    let clips = opened("clips", Split::Test);
    assert_eq!(clips.len(), N_CLIPS * FRAMES_PER_CLIP);
    for clip in 0..24 {
        let frames: Vec<Sample> =
            (0..FRAMES_PER_CLIP).map(|frame| drawn(&*clips, clip * FRAMES_PER_CLIP + frame)).collect();
        assert_eq!(frames[3].id, format!("clips/{clip}/3"));
        for pair in frames.windows(2) {
            assert_eq!(pair[0].truth.label, pair[1].truth.label);
            assert_eq!(pair[0].truth.texture, pair[1].truth.texture);
            for (a, b) in pair[0].truth.keypoints.iter().zip(&pair[1].truth.keypoints) {
                let (dx, dy) =
                    (a.xy_in_image_px.0 - b.xy_in_image_px.0, a.xy_in_image_px.1 - b.xy_in_image_px.1);
                assert!(dx.abs().max(dy.abs()) < 16.0, "{}: {dx} {dy}", pair[0].id);
            }
        }
    }
}

#[test]
fn the_truth_of_a_clip_is_tracked_through_its_frames() {
    let clips = opened("clips", Split::Test);
    let of_pixels = Offers { masks: true, parts: true, semantic: true, keypoints: true, ..Offers::default() };
    assert_eq!(clips.offers(), Offers { labels: true, clips: true, ..of_pixels });
    let center = |sample: &Sample| -> (f64, f64) {
        let inside: Vec<usize> = (0..SIZE_PX * SIZE_PX).filter(|&idx| mask(sample)[idx] == 1).collect();
        let mean = |of: &dyn Fn(usize) -> usize| {
            inside.iter().map(|&idx| of(idx) as f64).sum::<f64>() / inside.len() as f64
        };
        (mean(&|idx| idx % SIZE_PX), mean(&|idx| idx / SIZE_PX))
    };
    let (mut n_moved, mut n_parts_kept, mut n_pairs) = (0, 0, 0);
    for clip in (0..N_CLIPS).step_by(25) {
        let frames: Vec<Sample> =
            (0..FRAMES_PER_CLIP).map(|frame| drawn(&*clips, clip * FRAMES_PER_CLIP + frame)).collect();
        let names = |sample: &Sample| -> Vec<usize> {
            sample.truth.keypoints.iter().map(|keypoint| keypoint.name_idx).collect()
        };
        let kinds =
            |sample: &Sample| parts(sample).iter().copied().collect::<std::collections::BTreeSet<u8>>();
        for pair in frames.windows(2) {
            assert_eq!(names(&pair[0]), names(&pair[1]), "{}", pair[0].id);
            let ((ax, ay), (bx, by)) = (center(&pair[0]), center(&pair[1]));
            assert!((ax - bx).abs().max((ay - by).abs()) < 12.0, "{}: {ax} {ay} {bx} {by}", pair[0].id);
            assert_ne!(rgb(&pair[0]), rgb(&pair[1]));
            n_pairs += 1;
            n_parts_kept += usize::from(kinds(&pair[0]) == kinds(&pair[1]));
        }
        let ((ax, ay), (bx, by)) = (center(&frames[0]), center(&frames[FRAMES_PER_CLIP - 1]));
        n_moved += usize::from((ax - bx).abs().max((ay - by).abs()) > 2.0);
    }
    // A thin part may be hidden for a frame; most are not, and most objects get somewhere.
    assert!(n_parts_kept * 10 > n_pairs * 8 && n_moved >= 14, "{n_parts_kept} of {n_pairs}, {n_moved}");
}

/// The share of queries whose class wins the weighted vote of the 20 nearest rows (weights `exp(cosine / 0.07)`).
fn knn_top1(train: &[(Vec<f32>, u32)], queries: &[(Vec<f32>, u32)]) -> f64 {
    let hits = queries.par_iter().filter(|(query, label)| {
        let dot = |row: &[f32]| row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
        let mut near: Vec<(f32, u32)> = train.iter().map(|(row, label)| (dot(row), *label)).collect();
        near.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let mut votes = [0.0_f64; 12];
        for (cosine, label) in &near[..20] {
            votes[*label as usize] += libm::exp(f64::from(*cosine) / 0.07);
        }
        let winner = (0..12).max_by(|&a, &b| votes[a].total_cmp(&votes[b]));
        winner == Some(*label as usize)
    });
    hits.count() as f64 / queries.len() as f64
}

fn unit(mut row: Vec<f32>) -> Vec<f32> {
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    row.iter_mut().for_each(|value| *value /= length);
    row
}

/// Normalized pixels, averaged over 4×4 to keep the test quick.
fn pixels_row(sample: &Sample) -> Vec<f32> {
    let rgb = rgb(sample);
    let mut row = vec![0.0_f32; 16 * 16 * 3];
    for (idx, &byte) in rgb.iter().enumerate() {
        let (channel, x, y) = (idx % 3, idx / 3 % SIZE_PX, idx / 3 / SIZE_PX);
        let value =
            (f32::from(byte) / 255.0 - [0.485, 0.456, 0.406][channel]) / [0.229, 0.224, 0.225][channel];
        row[(y / 4 * 16 + x / 4) * 3 + channel] += value;
    }
    unit(row)
}

/// The square roots of the shares of 8×8×8 colours.
fn histogram_row(sample: &Sample) -> Vec<f32> {
    let mut row = vec![0.0_f32; 512];
    for color in rgb(sample).chunks(3) {
        let bin = |channel: usize| usize::from(color[channel] / 32);
        row[bin(0) * 64 + bin(1) * 8 + bin(2)] += 1.0;
    }
    unit(row.into_iter().map(f32::sqrt).collect())
}

fn rows(
    rest: &str,
    split: Split,
    from: usize,
    n: usize,
    row: fn(&Sample) -> Vec<f32>,
) -> Vec<(Vec<f32>, u32)> {
    let dataset = opened(rest, split);
    let labeled = |index: usize| {
        let sample = drawn(&*dataset, index);
        (row(&sample), sample.truth.label.expect("labeled"))
    };
    (from..from + n).into_par_iter().map(labeled).collect()
}

#[test]
fn raw_pixels_colors_and_backgrounds_do_not_give_the_class_away() {
    // 1,200 and 600 samples keep it cheap; the standard error of a share near chance is 0.011.
    let pixels =
        knn_top1(&rows("", Split::Train, 0, 1200, pixels_row), &rows("", Split::Test, 0, 600, pixels_row));
    assert!(pixels > 0.12 && pixels < 0.36, "raw pixels: {pixels}");
    let colors = knn_top1(
        &rows("", Split::Train, 0, 1200, histogram_row),
        &rows("", Split::Test, 0, 600, histogram_row),
    );
    assert!(colors < 1.0 / 12.0 + 0.06, "colours: {colors}");
    let scenery = knn_top1(
        &rows("background", Split::Test, 0, 1800, pixels_row),
        &rows("background", Split::Test, 1800, 1200, pixels_row),
    );
    assert!(scenery < 1.0 / 12.0 + 0.03, "backgrounds: {scenery}");
}

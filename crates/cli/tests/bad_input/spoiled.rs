//! A desk full of things that are not as they should be.

use super::desk::Desk;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

const TINY_RECIPE: &str = r#"
objective = "mae"
model = "vit:dim=32,depth=2,heads=4,patch=8,image=32"
data = "pixels:pixels.safetensors"

[views]
size_px = 32
normalize = "none"

[train]
epochs = 1.0
batch = 8

[options]
decoder_width = 16
decoder_depth = 1
decoder_heads = 2
"#;

const COMPARE_RECIPE: &str = r#"
data = "part-shapes"
model = "vit:dim=16,depth=2,heads=2,patch=16,image=64"
size_px = 64
raw_pixels_px = 16
normalize = "half"
batch = 16
seed = 0
n_seeds = 1
n_previews = 0
probes = []
analyses = []

[[train]]
name = "nothing"
objective = "nothing"
views = {}
train = {}
options = {}
"#;

/// A png of 2 × 1 px.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x02\0\0\0\x01\x01\x03\0\0\0\xce\xec\xed\xc9\0\0\0\x06PLTE\n\x14\x1e\xc8d2w\xa0\xb3\
\x9c\0\0\0\x02tRNS\xff\0\xe5\xb70J\0\0\0\nIDATx\xdacp\0\0\0B\0A\x84\xbf\x8eb\0\0\0\0IEND\xaeB`\x82";

/// A tensor of a file: name, type, shape and bytes.
type Raw = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn write_tensors(path: &Path, tensors: &[Raw], metadata: Option<&str>) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
    });
    let metadata = metadata.map(|text| [("vitscope".to_owned(), text.to_owned())].into());
    safetensors::serialize_to_file(views, metadata, path).expect("a file");
}

fn pixels(n: usize, first: f32) -> Raw {
    let values = std::iter::once(first).chain(std::iter::repeat_n(0.5, n * 3 * 32 * 32 - 1));
    ("pixels", Dtype::F32, vec![n, 3, 32, 32], values.flat_map(f32::to_le_bytes).collect())
}

fn labels(name: &'static str, of: &[i64]) -> Raw {
    (name, Dtype::I64, vec![of.len()], of.iter().flat_map(|label| label.to_le_bytes()).collect())
}

/// A desk full of things that are not as they should be.
pub(super) fn spoiled_desk() -> Desk {
    let desk = Desk::new().with_pixels();
    let write = |name: &str, bytes: &[u8]| {
        let path = desk.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    };
    write("tiny.toml", TINY_RECIPE.as_bytes());
    write("compare.toml", COMPARE_RECIPE.as_bytes());
    write("broken.toml", b"objective = ");
    write("nothing.toml", b"");
    write("junk.bin", b"this is not what it should be, whatever it should be");
    std::fs::create_dir_all(desk.path("empty")).expect("made");
    std::fs::create_dir_all(desk.path("hollow/a")).expect("made");
    std::fs::create_dir_all(desk.path("hollow/b")).expect("made");
    for at in 0..4 {
        write(&format!("spoiled/a/{at}.png"), b"not a picture");
        write(&format!("spoiled/b/{at}.jpg"), b"\xff\xd8\xff\xe0 cut");
    }
    let whole = std::fs::read(desk.path("pixels.safetensors")).expect("pixels");
    write("cut.safetensors", &whole[..whole.len() / 2]);

    let file = |name: &str, tensors: &[Raw]| write_tensors(&desk.path(name), tensors, None);
    file("labels_only.safetensors", &[labels("labels", &[0, 1])]);
    file("flat.safetensors", &[("pixels", Dtype::F32, vec![2, 3, 4], vec![0; 96])]);
    file("double.safetensors", &[("pixels", Dtype::F64, vec![1, 3, 2, 2], vec![0; 96])]);
    file("nan.safetensors", &[pixels(2, f32::NAN)]);
    file("few_labels.safetensors", &[pixels(3, 0.0), labels("labels", &[0, 1])]);
    file("negative.safetensors", &[pixels(2, 0.0), labels("labels", &[0, -1])]);
    file("no_train.safetensors", &[pixels(2, 0.0), labels("labels", &[0, 1])]);
    let (_, dtype, shape, bytes) = pixels(24, 0.0);
    file("no_labels.safetensors", &[pixels(4, 0.0), ("train_pixels", dtype, shape, bytes)]);

    idx_folders(&write);
    write("cifar_cut/test.bin", &[0; 3080]);
    let record = |class: u8| [&[class][..], &[7; 3072]].concat();
    write("cifar_class/test_batch.bin", &record(200));
    write("cifar_names/test_batch.bin", &record(2));
    write("cifar_names/batches.meta.txt", b"zebra\n");
    write("weights.png", b"something");
    for at in 0..4 {
        write(&format!("one_spoiled/a/{at}.png"), PIXEL);
        write(
            &format!("one_spoiled/b/{at}.{}", if at == 0 { "jpg" } else { "png" }),
            if at == 0 { b"\xff\xd8\xff\xe0 cut" } else { PIXEL },
        );
    }
    weights(&desk);
    desk
}

/// Folders of idx files, each wrong in one way.
fn idx_folders(write: &dyn Fn(&str, &[u8])) {
    let images = |magic: u32, n: u32, bytes: usize| -> Vec<u8> {
        let header = [magic, n, 28, 28].into_iter().flat_map(u32::to_be_bytes);
        header.chain(std::iter::repeat_n(7, bytes)).collect()
    };
    let labels = |n: u32, label: u8| -> Vec<u8> {
        [0x801_u32, n]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .chain(std::iter::repeat_n(label, n as usize))
            .collect()
    };
    let folder = |name: &str, images: Vec<u8>, labels: Vec<u8>| {
        for side in ["train", "t10k"] {
            write(&format!("{name}/{side}-images-idx3-ubyte"), &images);
            write(&format!("{name}/{side}-labels-idx1-ubyte"), &labels);
        }
    };
    folder("idx_magic", images(0x999, 4, 4 * 784), labels(4, 1));
    folder("idx_cut", images(0x803, 4, 3 * 784), labels(4, 1));
    folder("idx_count", images(0x803, 4, 4 * 784), labels(3, 1));
    folder("idx_label", images(0x803, 4, 4 * 784), labels(4, 10));
    for side in ["train", "t10k"] {
        write(&format!("idx_gzip/{side}-images-idx3-ubyte.gz"), b"not gzip at all");
        write(&format!("idx_gzip/{side}-labels-idx1-ubyte.gz"), b"not gzip at all");
    }
}

/// Weights as training leaves them, and the same spoiled in several ways.
fn weights(desk: &Desk) {
    let train = "pretrain tiny.toml --out trained -q --set train.epochs=0.4";
    desk.run(&train.split(' ').collect::<Vec<_>>()).done();
    let bytes = std::fs::read(desk.path("trained/backbone.safetensors")).expect("weights");
    std::fs::remove_dir_all(desk.path("trained")).expect("removed");
    std::fs::write(desk.path("weights.safetensors"), &bytes).expect("written");
    std::fs::write(desk.path("weights_cut.safetensors"), &bytes[..bytes.len() - 100]).expect("written");
    let whole = safetensors::SafeTensors::deserialize(&bytes).expect("weights");
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a header");
    let config = header.metadata().as_ref().expect("metadata")["vitscope"].clone();
    let tensors = || -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
        let all = whole.tensors().into_iter();
        all.map(|(name, view)| (name, view.dtype(), view.shape().to_vec(), view.data().to_vec())).collect()
    };
    let write = |file: &str, tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>| {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
        });
        let metadata = Some([("vitscope".to_owned(), config.clone())].into());
        safetensors::serialize_to_file(views, metadata, &desk.path(file)).expect("a file");
    };
    let with_bias = |change: &dyn Fn(&mut Vec<usize>, &mut Vec<u8>)| {
        let mut tensors = tensors();
        let bias = tensors.iter_mut().find(|(name, ..)| name == "norm.bias").expect("a bias");
        change(&mut bias.2, &mut bias.3);
        tensors
    };
    write(
        "weights_missing.safetensors",
        tensors().into_iter().filter(|(name, ..)| name != "norm.bias").collect(),
    );
    write(
        "weights_shape.safetensors",
        with_bias(&|shape, bytes| {
            shape[0] = 31;
            bytes.truncate(4 * 31);
        }),
    );
    write(
        "weights_nan.safetensors",
        with_bias(&|_, bytes| bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
    );
    let extra = ("extra".to_owned(), Dtype::F32, vec![1], vec![0; 4]);
    write("weights_more.safetensors", tensors().into_iter().chain([extra]).collect());
}

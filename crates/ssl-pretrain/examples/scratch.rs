//! scratch
#![allow(missing_docs, clippy::all, clippy::disallowed_macros, clippy::disallowed_methods, clippy::unwrap_used)]
use std::sync::Arc;
use vit_data::{Split, open};
use vit_train::*;
#[global_allocator]
static A: vit_ops::Allocator = vit_ops::Allocator {};
struct W(std::time::Instant, f64, usize);
impl Watch for W {
    fn step(&mut self, r: &StepReport) -> Flow {
        self.1 += r.loss; self.2 += 1;
        if self.2 == 20 { println!("step {}/{} loss {:.4} lr {:.2e} {:.3}s/step", r.progress.step, r.progress.n_steps, self.1 / 20.0, r.lr, self.0.elapsed().as_secs_f64() / 20.0); self.0 = std::time::Instant::now(); self.1 = 0.0; self.2 = 0; }
        Flow::Continue
    }
}
fn main() {
    vit_ops::keep_pages();
    let path = std::env::args().nth(1).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut table = report::recipe::parse_table(&text, &path).unwrap();
    for kv in std::env::args().skip(2) { report::recipe::set(&mut table, &kv).unwrap(); }
    let recipe: PretrainRecipe = report::recipe::from_table(table, &path).unwrap();
    let m = ssl_pretrain::OBJECTIVES.iter().find(|m| m.info.name == recipe.objective).unwrap();
    let recipe = (m.resolve)(&recipe).unwrap();
    let data: Arc<dyn vit_data::Dataset> = Arc::from(open(&recipe.data, Split::Train, 0).unwrap());
    let test: Arc<dyn vit_data::Dataset> = Arc::from(open(&recipe.data, Split::Test, 0).unwrap());
    let t = std::time::Instant::now();
    let req = Request { recipe: &recipe, data, indices: None, held_out: Some(test), n_previews: 0, device: vit_ops::cpu_device(), run_dir: Some(std::path::Path::new("/tmp/run-scratch")), resume: false, n_threads: 2 };
    let out = (m.run)(&req, &mut W(t, 0.0, 0)).unwrap();
    println!("top1 {:?} total {:.1}s peak {:?}", out.held_out_top1, t.elapsed().as_secs_f64(), vit_ops::peak_memory_bytes());
}

//! Batches, cut by threads and delivered in order: any number of threads gives the same bytes.

use std::{
    collections::BTreeMap,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{CropBox, DataError, Dataset, Order, Picture, Seed, Truth, ViewPlan, view};

/// How a [`Loader`] works; `seed`, `epoch`, `batch` and `start_batch` decide what it delivers, the others only when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples in a batch.
    pub batch: usize,
    /// Threads that decode; 0 decodes where the batch is asked for.
    pub threads: usize,
    /// The run's seed.
    pub seed: Seed,
    /// Which epoch; it draws the order and the views.
    pub epoch: u64,
    /// The first batch delivered: a resumed run begins here.
    pub start_batch: usize,
    /// The most batches in the making ahead of the one asked for; at least 1 is taken.
    pub prefetch_batches: usize,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
}

impl Default for LoaderOptions {
    /// 64 samples, no threads, seed 0, epoch 0 from its start, 2 batches ahead, nothing left out.
    fn default() -> Self {
        Self {
            batch: 64,
            threads: 0,
            seed: Seed(0),
            epoch: 0,
            start_batch: 0,
            prefetch_batches: 2,
            drop_last: false,
        }
    }
}

/// One view of every sample of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct HostView {
    /// `[B, 3, H, W]`, normalized.
    pub pixels: Vec<f32>,
    /// `[B, 3, H, W]`.
    pub shape: [usize; 4],
    /// Where each was cut: `B` boxes.
    pub boxes: Vec<CropBox>,
}

/// A batch in the memory of the host; `B` is the length of `indices`.
#[derive(Clone, Debug, PartialEq)]
pub struct HostBatch {
    /// One entry per view of the plan.
    pub views: Vec<HostView>,
    /// The class of each sample.
    pub labels: Vec<Option<u32>>,
    /// The index of each sample in its data set.
    pub indices: Vec<usize>,
    /// The name of each sample.
    pub ids: Vec<String>,
    /// All that is known of each sample, in pixels of its image; `boxes` say how to bring it into a view.
    pub truths: Vec<Truth>,
}

impl HostView {
    /// The views of a range of the samples.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn part(&self, samples: Range<usize>) -> Self {
        let [_, channels, height, width] = self.shape;
        let n_values = channels * height * width;
        Self {
            pixels: self.pixels[samples.start * n_values..samples.end * n_values].to_vec(),
            shape: [samples.len(), channels, height, width],
            boxes: self.boxes[samples].to_vec(),
        }
    }
}

impl HostBatch {
    /// A range of the samples, with all that is known of them.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn part(&self, samples: Range<usize>) -> Self {
        Self {
            views: self.views.iter().map(|view| view.part(samples.clone())).collect(),
            labels: self.labels[samples.clone()].to_vec(),
            indices: self.indices[samples.clone()].to_vec(),
            ids: self.ids[samples.clone()].to_vec(),
            truths: self.truths[samples].to_vec(),
        }
    }
}

/// The batches of one epoch.
///
/// Views are drawn from `seed.stream("view", &[epoch, sample, view_idx])`, the order as [`Order`] says. At most
/// `prefetch_batches` batches are in the making; dropping the loader ends its threads. A batch with a sample that
/// cannot be read is delivered as the error of its first such sample, in its place, and the next batch follows.
///
/// # Example
/// ```no_run
/// use std::sync::Arc;
/// use vit_data::{Loader, LoaderOptions, Order, Split, ViewPlan, transform::Normalize};
/// let dataset = vit_data::open("folder:photos", Split::Train, 0)?;
/// let options = LoaderOptions { batch: 32, threads: 2, ..LoaderOptions::default() };
/// let plan = ViewPlan::center(256, 224, Normalize::IMAGENET);
/// for batch in Loader::new(Arc::from(dataset), Order::Shuffled, plan, options) {
///     assert_eq!(batch?.views[0].shape[1..], [3, 224, 224]);
/// }
/// # Ok::<(), vit_data::DataError>(())
/// ```
pub struct Loader {
    work: Arc<Work>,
    threads: Vec<JoinHandle<()>>,
    /// `None` without threads.
    channels: Option<Channels>,
    /// Chunks that came before their batch was asked for.
    early: BTreeMap<(usize, usize), Done>,
    next_batch: usize,
    /// The first batch that was not given to the threads.
    next_submitted: usize,
    n_batches: usize,
}

/// What the threads share.
struct Work {
    dataset: Arc<dyn Dataset>,
    plan: ViewPlan,
    options: LoaderOptions,
    order: Vec<usize>,
    /// Samples a thread takes at a time.
    chunk: usize,
    stopped: AtomicBool,
}

struct Channels {
    tasks: Sender<(usize, usize)>,
    done: Receiver<((usize, usize), Done)>,
}

/// What became of a chunk; the outer error is the payload of a panic.
type Done = thread::Result<Result<HostBatch, DataError>>;

impl Loader {
    /// Opens the epoch and, with threads, begins its first batches.
    ///
    /// # Panics
    /// When `options.batch` is 0, the plan fails [`ViewPlan::check`], the order names a sample that is not there,
    /// or the system gives no thread.
    pub fn new(dataset: Arc<dyn Dataset>, order: Order, plan: ViewPlan, options: LoaderOptions) -> Self {
        assert!(options.batch > 0, "a batch has at least one sample");
        if let Err(error) = plan.check() {
            panic!("the plan was not checked: {error}");
        }
        let len = dataset.len();
        let order = order.indices(len, options.seed, options.epoch);
        if let Some(beyond) = order.iter().find(|&&index| index >= len) {
            panic!("the order names sample {beyond} of {len}");
        }
        let n_batches = match options.drop_last {
            true => order.len() / options.batch,
            false => order.len().div_ceil(options.batch),
        };
        // Several chunks a thread, so that all are busy to the end of a batch; not so small that they cost.
        let chunk = (options.batch / (4 * options.threads.max(1))).clamp(1, 32);
        let work = Arc::new(Work { dataset, plan, options, order, chunk, stopped: AtomicBool::new(false) });
        let (threads, channels) = if options.threads == 0 { (Vec::new(), None) } else { start(&work) };
        let first = options.start_batch.min(n_batches);
        let early = BTreeMap::new();
        let mut loader =
            Self { work, threads, channels, early, next_batch: first, next_submitted: first, n_batches };
        loader.submit();
        loader
    }

    /// The number of batches in the whole epoch, those before `start_batch` included.
    pub fn n_batches(&self) -> usize {
        self.n_batches
    }

    /// Gives batches to the threads until `prefetch_batches` are in the making; never blocks, since the channel has
    /// room for all of them.
    fn submit(&mut self) {
        let Some(channels) = &self.channels else { return };
        let ahead = self.next_batch.saturating_add(self.work.options.prefetch_batches.max(1));
        while self.next_submitted < ahead.min(self.n_batches) {
            for chunk_idx in 0..self.work.n_chunks(self.next_submitted) {
                // The receiving ends live as long as the threads, and those as long as `tasks`.
                let _ = channels.tasks.send((self.next_submitted, chunk_idx));
            }
            self.next_submitted += 1;
        }
    }

    /// Waits for one chunk, keeping those that come before it.
    fn chunk(&mut self, at: (usize, usize)) -> Done {
        if let Some(done) = self.early.remove(&at) {
            return done;
        }
        let Some(channels) = &self.channels else {
            return Ok(self.work.cut(at));
        };
        loop {
            match channels.done.recv() {
                Ok((found, done)) if found == at => return done,
                Ok((found, done)) => drop(self.early.insert(found, done)),
                Err(_) => panic!("all decode threads ended before batch {} was whole", at.0),
            }
        }
    }
}

impl Iterator for Loader {
    type Item = Result<HostBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch_idx = self.next_batch;
        if batch_idx >= self.n_batches {
            return None;
        }
        let mut whole: Option<Result<HostBatch, DataError>> = None;
        for chunk_idx in 0..self.work.n_chunks(batch_idx) {
            let part = self.chunk((batch_idx, chunk_idx)).unwrap_or_else(|payload| resume_unwind(payload));
            match (&mut whole, part) {
                (None, part) => {
                    let spare = self.work.range(batch_idx).len();
                    whole = Some(part.map(|part| with_room(part, spare)));
                }
                (Some(Ok(batch)), Ok(part)) => append(batch, part),
                (Some(Ok(_)), Err(error)) => whole = Some(Err(error)),
                (Some(Err(_)), _) => {} // the first error stands
            }
        }
        self.next_batch += 1;
        self.submit();
        whole
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.n_batches - self.next_batch;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Loader {}

impl Drop for Loader {
    fn drop(&mut self) {
        self.work.stopped.store(true, Ordering::Relaxed);
        self.channels = None; // wakes threads that wait for a task
        for thread in self.threads.drain(..) {
            // A panic of a thread was caught, and delivered with its batch.
            let _ = thread.join();
        }
    }
}

/// Starts the threads, and channels with room for all that can be in the making.
fn start(work: &Arc<Work>) -> (Vec<JoinHandle<()>>, Option<Channels>) {
    let options = work.options;
    let ahead = options.prefetch_batches.max(1).min(work.order.len().div_ceil(options.batch).max(1));
    let room = ahead * options.batch.div_ceil(work.chunk);
    let (tasks, waiting) = bounded::<(usize, usize)>(room);
    let (finished, done) = bounded(room);
    let spawn = |thread_idx: usize| {
        let (work, waiting, finished) = (Arc::clone(work), waiting.clone(), finished.clone());
        let body = move || {
            for at in waiting {
                if work.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let cut = catch_unwind(AssertUnwindSafe(|| work.cut(at)));
                if finished.send((at, cut)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name(format!("vit-data-{thread_idx}")).spawn(body);
        thread.unwrap_or_else(|error| panic!("the system gives no decode thread: {error}"))
    };
    ((0..options.threads).map(spawn).collect(), Some(Channels { tasks, done }))
}

impl Work {
    /// The places in the order of one batch.
    fn range(&self, batch_idx: usize) -> Range<usize> {
        let start = batch_idx * self.options.batch;
        start..(start + self.options.batch).min(self.order.len())
    }

    fn n_chunks(&self, batch_idx: usize) -> usize {
        self.range(batch_idx).len().div_ceil(self.chunk)
    }

    /// Reads and cuts one chunk of one batch.
    fn cut(&self, (batch_idx, chunk_idx): (usize, usize)) -> Result<HostBatch, DataError> {
        let range = self.range(batch_idx);
        let start = range.start + chunk_idx * self.chunk;
        let indices = &self.order[start..(start + self.chunk).min(range.end)];
        let n = indices.len();
        let views = self.plan.views.iter().map(|spec| HostView {
            pixels: vec![0.0; n * 3 * spec.size_px * spec.size_px],
            shape: [n, 3, spec.size_px, spec.size_px],
            boxes: Vec::with_capacity(n),
        });
        let mut part = HostBatch {
            views: views.collect(),
            labels: Vec::with_capacity(n),
            indices: indices.to_vec(),
            ids: Vec::with_capacity(n),
            truths: Vec::with_capacity(n),
        };
        for (row, &index) in indices.iter().enumerate() {
            let stream_of = |view_idx| {
                self.options.seed.stream("view", &[self.options.epoch, index as u64, view_idx as u64])
            };
            let n_rows = |width_px, height_px| self.plan.rows_seen(width_px, height_px, stream_of);
            let sample = self.dataset.sample_rows(index, &n_rows)?;
            if matches!(sample.picture, Picture::Normalized { .. }) && self.plan.changes_bytes() {
                return Err(DataError::Usage {
                    expected: "8-bit images where views jitter, turn gray, blur or solarize".into(),
                    found: format!("values normalized already in {}", self.dataset.name()),
                });
            }
            for (view_idx, (spec, view)) in self.plan.views.iter().zip(&mut part.views).enumerate() {
                let n_values = 3 * spec.size_px * spec.size_px;
                let into = &mut view.pixels[row * n_values..(row + 1) * n_values];
                view.boxes.push(view::cut_into(&sample.picture, spec, &mut stream_of(view_idx), into));
            }
            part.labels.push(sample.truth.label);
            part.ids.push(sample.id);
            part.truths.push(sample.truth);
        }
        Ok(part)
    }
}

/// The first chunk of a batch, with room for the others.
fn with_room(mut part: HostBatch, n: usize) -> HostBatch {
    for view in &mut part.views {
        let [found, channels, height, width] = view.shape;
        view.pixels.reserve_exact((n - found) * channels * height * width);
    }
    part
}

fn append(batch: &mut HostBatch, part: HostBatch) {
    for (view, more) in batch.views.iter_mut().zip(part.views) {
        view.pixels.extend_from_slice(&more.pixels);
        view.boxes.extend(more.boxes);
        view.shape[0] += more.shape[0];
    }
    batch.labels.extend(part.labels);
    batch.indices.extend(part.indices);
    batch.ids.extend(part.ids);
    batch.truths.extend(part.truths);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Crop, Image, Offers, Sample, ViewSpec, transform::Normalize};
    use proptest::prelude::*;

    /// Pictures made of their index; some cannot be read, one makes its reader panic.
    struct Made {
        len: usize,
        unreadable: Vec<usize>,
        panics: Option<usize>,
    }

    impl Dataset for Made {
        fn name(&self) -> String {
            "made".into()
        }
        fn len(&self) -> usize {
            self.len
        }
        fn classes(&self) -> &[String] {
            &[]
        }
        fn offers(&self) -> Offers {
            Offers { labels: true, ..Offers::default() }
        }
        fn label(&self, index: usize) -> Option<u32> {
            Some(index as u32 % 3)
        }
        fn native_size_px(&self) -> Option<usize> {
            None
        }
        fn sample(&self, index: usize) -> Result<Sample, DataError> {
            assert_ne!(Some(index), self.panics, "sample {index} makes its reader panic");
            if self.unreadable.contains(&index) {
                return Err(DataError::Usage {
                    expected: "a readable sample".into(),
                    found: index.to_string(),
                });
            }
            let (width_px, height_px) = (7 + index % 3, 6 + index % 5);
            let rgb = (0..width_px * height_px * 3).map(|i| (i * 11 + index * 29) as u8).collect();
            Ok(Sample {
                picture: Picture::Image(Image { width_px, height_px, rgb }),
                truth: Truth { label: self.label(index), ..Truth::default() },
                id: format!("made/{index}"),
            })
        }
    }

    fn made(len: usize) -> Arc<dyn Dataset> {
        Arc::new(Made { len, unreadable: vec![], panics: None })
    }

    fn plan() -> ViewPlan {
        let crop = Crop::RandomResized { scale: (0.2, 1.0), ratio: (0.75, 4.0 / 3.0) };
        let normalize = Normalize::IMAGENET;
        ViewPlan {
            views: vec![
                ViewSpec { flip_prob: 0.5, ..ViewSpec::plain(crop, 6, normalize) },
                ViewSpec { flip_prob: 0.5, ..ViewSpec::plain(crop, 3, normalize) },
                ViewSpec::plain(Crop::Center { resize_px: 6 }, 5, normalize),
            ],
        }
    }

    fn load(
        dataset: &Arc<dyn Dataset>,
        order: Order,
        options: LoaderOptions,
    ) -> Vec<Result<HostBatch, String>> {
        let loader = Loader::new(Arc::clone(dataset), order, plan(), options);
        loader.map(|batch| batch.map_err(|error| error.to_string())).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_number_of_threads_gives_the_same_batches(
            len in 0usize..60, batch in 1usize..20, prefetch_batches in 0usize..5, drop_last: bool, seed: u64,
        ) {
            let options = LoaderOptions { batch, prefetch_batches, drop_last, seed: Seed(seed), ..LoaderOptions::default() };
            let dataset: Arc<dyn Dataset> = Arc::new(Made { len, unreadable: vec![5, 33, 34], panics: None });
            let alone = load(&dataset, Order::Shuffled, options);
            prop_assert_eq!(alone.len(), if drop_last { len / batch } else { len.div_ceil(batch) });
            for threads in [1, 2, 5] {
                let found = load(&dataset, Order::Shuffled, LoaderOptions { threads, ..options });
                prop_assert_eq!(&found, &alone);
            }
        }

        #[test]
        fn a_resumed_epoch_is_the_rest_of_the_epoch(len in 1usize..40, start_batch in 0usize..12, threads in 0usize..3) {
            let options = LoaderOptions { batch: 4, threads, epoch: 2, ..LoaderOptions::default() };
            let whole = load(&made(len), Order::Shuffled, options);
            let rest = load(&made(len), Order::Shuffled, LoaderOptions { start_batch, ..options });
            prop_assert_eq!(&rest[..], &whole[start_batch.min(whole.len())..]);
        }
    }

    #[test]
    fn a_sample_s_views_do_not_depend_on_its_batch() {
        let options = LoaderOptions { batch: 3, ..LoaderOptions::default() };
        let one = load(&made(7), Order::Sequential, options);
        let all = load(&made(7), Order::Sequential, LoaderOptions { batch: 7, ..options });
        let (one, all) = (one[1].as_ref().expect("reads"), all[0].as_ref().expect("reads"));
        assert_eq!(one.views[0].pixels, all.views[0].pixels[3 * 108..6 * 108]);
        assert_eq!(one.views[0].boxes, all.views[0].boxes[3..6]);
        assert_eq!(one.views[1].shape, [3, 3, 3, 3]);
        assert_eq!(one.ids, ["made/3", "made/4", "made/5"]);
        assert_eq!(one.labels, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn the_first_error_of_a_batch_stands_in_its_place() {
        let dataset: Arc<dyn Dataset> = Arc::new(Made { len: 12, unreadable: vec![5, 7], panics: None });
        for threads in [0, 3] {
            let options = LoaderOptions { batch: 4, threads, ..LoaderOptions::default() };
            let found = load(&dataset, Order::Sequential, options);
            assert!(found[0].is_ok() && found[2].is_ok());
            assert_eq!(found[1].as_ref().expect_err("5 is unreadable").split('`').nth(1), Some("5"));
        }
    }

    #[test]
    fn dropping_early_ends_the_threads() {
        for taken in [0, 1, 3] {
            let dataset = made(1000);
            let options =
                LoaderOptions { batch: 2, threads: 4, prefetch_batches: 8, ..LoaderOptions::default() };
            let mut loader = Loader::new(Arc::clone(&dataset), Order::Sequential, plan(), options);
            assert_eq!(loader.by_ref().take(taken).count(), taken);
            drop(loader);
            assert_eq!(Arc::strong_count(&dataset), 1, "a thread still holds the data set");
        }
    }

    #[test]
    #[should_panic(expected = "sample 9 makes its reader panic")]
    fn a_panic_of_a_thread_reaches_the_caller() {
        let dataset: Arc<dyn Dataset> = Arc::new(Made { len: 40, unreadable: vec![], panics: Some(9) });
        let options = LoaderOptions { batch: 4, threads: 2, ..LoaderOptions::default() };
        load(&dataset, Order::Sequential, options);
    }

    #[test]
    fn listed_samples_come_as_listed() {
        let order = Order::Indices(Arc::new(vec![4, 1, 1]));
        let found = load(&made(5), order, LoaderOptions { batch: 8, ..LoaderOptions::default() });
        assert_eq!(found[0].as_ref().expect("reads").indices, [4, 1, 1]);
    }

    #[test]
    #[should_panic(expected = "the order names sample 5 of 5")]
    fn a_sample_beyond_the_end_is_the_caller_s_bug() {
        load(&made(5), Order::Indices(Arc::new(vec![5])), LoaderOptions::default());
    }
}

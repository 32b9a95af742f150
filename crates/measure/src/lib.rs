//! Pure functions that score what a model has learned: numbers in, numbers out, no tensors and no files.
//!
//! Everything works on slices and [`ndarray`] views, sums in `f64` in a fixed order where it sums, and gives the
//! same bits for every number of threads. A caller's mistake (shapes that do not agree, `k` larger than the bank)
//! panics with the shapes; nothing else can go wrong here, so nothing returns a `Result`, but for what a caller's own rows
//! may say when they are read.
//!
//! - [`nearest`]: the `k` most similar bank rows of each query, exact, in blocks;
//! - [`vote`]: the weighted k-nearest-neighbour vote over those rows, and accuracies;
//! - [`attention`]: how far, how broadly and whereto attention looks;
//! - [`linear`]: linear classifiers by descent, in closed form, and at the minimum of the cross-entropy;
//! - [`kmeans`]: clusters of features, over rows that are read in blocks;
//! - [`cluster_scores`]: how well clusters meet classes;
//! - [`confusion`]: which class is taken for which;
//! - [`aggregated`]: where queries of a kind look, taken together;
//! - [`aligned`]: where attention looks from the place of the query, and the kinds of heads;
//! - [`crf`]: labels of pixels that agree with their neighbors and with the colors;
//! - [`davis`]: how well a mask follows an object through a video;
//! - [`propagate`]: labels carried from frame to frame by the likeness of features;
//! - [`correspond`], [`pck`] and [`log_bins`]: which token belongs to which of another image, how right that is, and tokens with
//!   their surroundings;
//! - [`retrieval`]: how well a ranking finds what belongs to a query;
//! - [`matching`]: which cluster stands for which class;
//! - [`cooccurrence`] and [`map_equation`]: which labels stand beside which, and their communities;
//! - [`resample`]: maps at another size;
//! - [`rollout`]: how attention passes through the layers;
//! - [`cka`]: how alike two layers are, by centered kernel alignment;
//! - [`interval`]: how far a number may be trusted;
//! - [`pca`] and [`projection`]: the principal directions of a symmetric matrix, and rows brought to them;
//! - [`receptive_field`]: how wide a map of dependence on pixels is;
//! - [`saliency`]: what a map of scores marks, and how well that meets a mask;
//! - [`rank`]: how many dimensions features really use.

pub mod aggregated;
pub mod aligned;
pub mod attention;
pub mod cka;
pub mod cluster_scores;
pub mod confusion;
pub mod cooccurrence;
pub mod correspond;
pub mod crf;
pub mod davis;
pub mod interval;
pub mod kmeans;
pub mod linear;
pub mod log_bins;
pub mod map_equation;
pub mod matching;
pub mod nearest;
pub mod pca;
pub mod pck;
pub mod projection;
pub mod propagate;
pub mod rank;
pub mod receptive_field;
pub mod resample;
pub mod retrieval;
pub mod rollout;
pub mod saliency;
pub mod vote;

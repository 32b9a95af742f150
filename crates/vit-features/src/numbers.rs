//! What is seen at a site, on the host.

use std::sync::Arc;
use vit_core::Seen;

/// The numbers of a site, row-major; one copy serves every study.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// `[B, T, channels]` of a token site, `[B, heads, T, …]` of one per head.
    pub shape: Vec<usize>,
    /// As many as the shape says.
    pub values: Arc<Vec<f32>>,
}

impl Numbers {
    /// Brings a site to the host; nothing is copied where it is there already and nobody else holds it.
    ///
    /// # Panics
    /// When the device gives no floats.
    pub fn of(seen: Seen) -> Self {
        let (shape, data) = match seen {
            Seen::Tokens(tokens) => (tokens.dims().to_vec(), tokens.into_data()),
            Seen::Heads(heads) => (heads.dims().to_vec(), heads.into_data()),
        };
        match data.convert::<f32>().try_into_vec::<f32>() {
            Ok(values) => Self { shape, values: Arc::new(values) },
            Err(error) => panic!("what is seen is f32: {error:?}"),
        }
    }
}

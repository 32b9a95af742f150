//! Which layers a study looks at.

use crate::StudyError;
use std::str::FromStr;

/// The layers asked for; a layer is a block counted from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Layers {
    /// Every block.
    #[default]
    All,
    /// The last block.
    Last,
    /// These.
    List(Vec<usize>),
}

impl FromStr for Layers {
    type Err = StudyError;

    fn from_str(text: &str) -> Result<Self, StudyError> {
        let wrong = || StudyError::Select {
            expected: "layers as `all`, `last` or a list such as 0,5,11".into(),
            found: text.into(),
        };
        match text {
            "all" => Ok(Self::All),
            "last" => Ok(Self::Last),
            list => list
                .split(',')
                .map(|item| item.trim().parse().map_err(|_| wrong()))
                .collect::<Result<_, _>>()
                .map(Self::List),
        }
    }
}

impl Layers {
    /// The blocks meant in a model of `depth` blocks.
    ///
    /// # Errors
    /// When a block is named that there is not.
    pub fn blocks(&self, depth: usize) -> Result<Vec<usize>, StudyError> {
        match self {
            Self::All => Ok((0..depth).collect()),
            Self::Last => Ok(vec![depth - 1]),
            Self::List(list) => match list.iter().find(|&&block| block >= depth) {
                Some(block) => {
                    let expected = format!("layers from 0 to {}", depth - 1);
                    Err(StudyError::Select { expected, found: block.to_string() })
                }
                None => Ok(list.clone()),
            },
        }
    }
}

//! The one place where a device's name becomes a device.

use burn::tensor::Device;
use std::error::Error;
use std::fmt;

/// Why a name is no device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// It is none of those that can be.
    Unknown {
        /// What was given.
        found: String,
    },
    /// It needs a Cargo feature that this build does not have.
    NotCompiledIn {
        /// What was given.
        found: String,
        /// The feature.
        feature: &'static str,
        /// The devices of this build.
        available: String,
    },
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unknown { found } => {
                write!(f, "device: expected cpu, ndarray, wgpu or cuda[:N]; found `{found}`")
            }
            Self::NotCompiledIn { found, feature, available } => write!(
                f,
                "device `{found}`: expected one that is compiled in ({available}); found none: build with \
                 `cargo build --release --features {feature}`"
            ),
        }
    }
}

impl Error for DeviceError {}

/// The CPU device.
#[cfg(feature = "flex")]
pub fn cpu_device() -> Device {
    Device::flex()
}

/// The device of a name: `cpu`, `ndarray`, `wgpu` or `cuda[:N]`, without autodiff.
///
/// `wgpu` is the best adapter that the system offers; where none is a GPU, a software one.
///
/// # Errors
/// When there is no such device, or this build has not its Cargo feature.
pub fn device(name: &str) -> Result<Device, DeviceError> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, Some(index)),
        None => (name, None),
    };
    let unknown = || DeviceError::Unknown { found: name.to_owned() };
    let index = match (kind, index) {
        ("cuda", Some(index)) => index.parse::<usize>().map_err(|_| unknown())?,
        (_, Some(_)) => return Err(unknown()),
        (_, None) => 0,
    };
    let feature = match kind {
        "cpu" => "flex",
        "ndarray" => "ndarray",
        "wgpu" => "wgpu",
        "cuda" => "cuda",
        _ => return Err(unknown()),
    };
    let available = available().join(", ");
    compiled_in(kind, index).ok_or(DeviceError::NotCompiledIn { found: name.to_owned(), feature, available })
}

/// The names of the devices of this build.
fn available() -> Vec<&'static str> {
    let all = [
        ("cpu", cfg!(feature = "flex")),
        ("ndarray", cfg!(feature = "ndarray")),
        ("wgpu", cfg!(feature = "wgpu")),
        ("cuda[:N]", cfg!(feature = "cuda")),
    ];
    all.into_iter().filter(|(_, is_in)| *is_in).map(|(name, _)| name).collect()
}

/// The device, where the build has it.
#[allow(unused_variables, reason = "only CUDA's devices are numbered")]
fn compiled_in(kind: &str, index: usize) -> Option<Device> {
    match kind {
        #[cfg(feature = "flex")]
        "cpu" => Some(cpu_device()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated, reason = "a second CPU reference, until the tensor library drops it")]
        "ndarray" => Some(Device::ndarray()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Some(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Some(Device::cuda(index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_refused_with_a_reason() {
        assert!(device("cpu").is_ok());
        for name in ["gpu", "cpu:0", "cuda:x", "wgpu:1", ""] {
            assert_eq!(device(name).err(), Some(DeviceError::Unknown { found: name.into() }), "{name}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_is_not_compiled_in_names_its_feature() {
        let refused = device("cuda:1").expect_err("is not in this build").to_string();
        assert!(refused.contains("`cuda:1`") && refused.contains("--features cuda"), "{refused}");
    }
}

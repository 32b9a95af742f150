//! `pretrain --dry-run`: what a run will take, from a few real steps, with nothing written.

use crate::outcome::{Done, Stop};
use crate::progress::{Progress, interrupted};
use serde_json::json;
use std::time::Instant;
use vit_train::{Flow, Method, Request, StepReport, TrainError, Watch};

/// Steps before the first that is measured: buffers are made in them.
const N_WARMUP: usize = 3;

/// Steps that are measured, at least, and seconds after which it is enough.
const N_MEASURED: usize = 5;
const ENOUGH_SECS: f64 = 8.0;

/// A forward pass without gradients takes about this share of a step of training.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// Measures a few steps, and stops.
struct Measure {
    n_steps: usize,
    started: Option<Instant>,
    secs: f64,
}

impl Watch for Measure {
    fn step(&mut self, report: &StepReport) -> Flow {
        if interrupted() {
            return Flow::Stop;
        }
        if report.progress.step + 1 == N_WARMUP {
            self.started = Some(Instant::now());
        }
        if let Some(started) = self.started.filter(|_| report.progress.step >= N_WARMUP) {
            self.n_steps += 1;
            self.secs = started.elapsed().as_secs_f64();
        }
        if self.n_steps >= N_MEASURED && self.secs >= ENOUGH_SECS { Flow::Stop } else { Flow::Continue }
    }
}

/// Runs a few steps and says what the whole run will take.
///
/// # Errors
/// Whatever would stop the run in its first steps.
pub(super) fn run(request: &Request, method: &Method, progress: &Progress) -> anyhow::Result<Done> {
    let plan = (method.plan)(request)?;
    progress.say("a few real steps, to measure");
    let steps = Request {
        run_dir: None,
        resume: false,
        held_out: None,
        indices: request.indices.clone(),
        data: request.data.clone(),
        device: request.device.clone(),
        ..*request
    };
    let mut measure = Measure { n_steps: 0, started: None, secs: 0.0 };
    match (method.run)(&steps, &mut measure) {
        Ok(_) | Err(TrainError::Interrupted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    if interrupted() {
        return Err(Stop::again("nothing was written").into());
    }
    let step_secs = (measure.n_steps > 0).then(|| measure.secs / measure.n_steps as f64);
    let n_held_out =
        if method.needs_labels { request.held_out.as_ref().map_or(0, |data| data.len()) } else { 0 };
    let evaluation_steps = n_held_out as f64 / plan.samples_per_step as f64 * FORWARD_SHARE;
    let total_secs = step_secs.map(|secs| secs * (plan.n_steps as f64 + evaluation_steps));
    let memory_bytes = vit_ops::peak_memory_bytes();
    let macs = plan.sample.forward_macs as f64;
    let run_macs = 3.0 * macs * plan.samples_per_step as f64 * plan.n_steps as f64;
    let lines = [
        format!("parameters        {} ({} trained)", plan.n_params, plan.n_trained),
        format!(
            "forward           {} MACs a sample, {} tokens in the encoder",
            si(macs),
            plan.sample.n_tokens
        ),
        format!("samples           {} ({} a step)", plan.n_samples, plan.samples_per_step),
        format!("steps             {} ({} an epoch)", plan.n_steps, plan.steps_per_epoch),
        format!("whole run         {} MACs, backward counted as two forwards", si(run_macs)),
        format!("one checkpoint    {}B", si(plan.checkpoint_bytes as f64)),
        format!(
            "peak memory       {}",
            memory_bytes.map_or("not told by this system".into(), |bytes| format!("{}B", si(bytes as f64)))
        ),
        match (step_secs, total_secs) {
            (Some(step), Some(total)) => format!(
                "time              {} ({:.3} s a step, measured over {} steps)",
                human_time(total),
                step,
                measure.n_steps
            ),
            _ => "time              the run is too short to be measured".into(),
        },
    ];
    let json = json!({
        "kind": "dry-run",
        "objective": method.info.name,
        "n_params": plan.n_params,
        "n_trained": plan.n_trained,
        "forward_macs": plan.sample.forward_macs,
        "n_tokens": plan.sample.n_tokens,
        "n_samples": plan.n_samples,
        "samples_per_step": plan.samples_per_step,
        "steps_per_epoch": plan.steps_per_epoch,
        "n_steps": plan.n_steps,
        "checkpoint_bytes": plan.checkpoint_bytes,
        "peak_memory_bytes": memory_bytes,
        "step_secs": step_secs,
        "total_secs": total_secs,
    });
    Ok(Done { path: None, lines: lines.into(), json, metrics: Vec::new() })
}

/// A large number with its prefix, three digits.
fn si(value: f64) -> String {
    let (scaled, prefix) = [(1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")]
        .into_iter()
        .find(|(unit, _)| value >= *unit)
        .map_or((value, " "), |(unit, prefix)| (value / unit, prefix));
    let digits = if scaled < 10.0 {
        2
    } else if scaled < 100.0 {
        1
    } else {
        0
    };
    format!("{scaled:.digits$}{prefix}")
}

/// Seconds as a person says them.
fn human_time(secs: f64) -> String {
    let whole = secs.round() as u64;
    match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} min {s} s"),
        (0, h, m, _) => format!("{h} h {m} min"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_said_as_people_say_them() {
        assert_eq!(
            [si(17.56e9), si(999.0), si(5_717_416.0), si(1.2e12)],
            ["17.6 G", "999 ", "5.72 M", "1.20 T"]
        );
        assert_eq!(
            [human_time(59.4), human_time(61.0), human_time(3660.0), human_time(90_000.0)],
            ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
        );
    }
}

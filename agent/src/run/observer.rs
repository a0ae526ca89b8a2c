//! The beat: wakes, samples, shows, and puts the report into the outbox.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use crate::{
    board::{Board, Reading},
    clock::{Clock, own_cpu_us},
    link::{Outbox, encode},
    meter::Meter,
    person::Person,
    rhythm::{COST_PARTS, Rhythm, timer::Timer},
    sample::memory::budget::PssShare,
    sampler::{PssMode, SampleError, Sampler, Target},
    stop::Stop,
    urgency::Urgency,
    workload::told::Told,
};

/// Everything a beat needs.
pub struct Observer {
    /// What is sampled.
    pub target: Target,
    /// What reading proportional sets again may take.
    pub pss_share: PssShare,
    /// The agent's clocks.
    pub clock: Arc<dyn Clock>,
    /// Where readings are shown.
    pub board: Arc<Board>,
    /// Where reports go, if there is a collector.
    pub outbox: Option<Arc<Outbox>>,
    /// Our own interval.
    pub interval: Duration,
    /// The interval the collector wants.
    pub pace: watch::Receiver<Option<Duration>>,
    /// What the server extension tells.
    pub told: mpsc::Receiver<Told>,
    /// When it is over.
    pub stop: Stop,
}

/// What a beat keeps from the one before.
struct Beat {
    sampler: Option<Sampler>,
    /// Told before there was a sampler.
    told: Option<Told>,
    meter: Meter,
    urgency: Urgency,
    person: Person,
    /// Something of the person is to be told at once.
    news: bool,
    trouble: String,
    /// The log knows that samples cost too much here.
    told_cost: bool,
}

/// The server's root process is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gone;

// === impl Observer ===

impl Observer {
    /// Samples until it is to stop, or until the root process is gone and nobody says
    /// otherwise (`run -- CMD` knows its child's end better).
    pub async fn run(mut self) {
        let timer = match Timer::new() {
            Ok(timer) => timer,
            Err(error) => {
                warn!(%error, "no timer, so nothing is sampled");
                return self.stop.asked().await;
            }
        };
        let mut rhythm = Rhythm::new(self.interval, self.clock.mono_ms());
        let mut beat = Beat {
            sampler: None,
            told: None,
            meter: Meter::default(),
            urgency: Urgency::default(),
            person: Person::default(),
            news: false,
            trouble: String::new(),
            told_cost: false,
        };
        let mut stop = self.stop.clone();
        // Made once: it is as dear as a look at ten processes.
        let mut asked = std::pin::pin!(stop.asked());
        loop {
            if let Err(error) = timer.set(rhythm.due_ms()) {
                warn!(%error, "the timer cannot be set");
            }
            tokio::select! {
                // Nearly always it is the timer: then nobody else need be asked.
                biased;
                waited = timer.wait() => {
                    if let Err(error) = waited {
                        warn!(%error, "the timer broke, so nothing is sampled any more");
                        return self.stop.asked().await;
                    }
                    if self.beat(&mut beat, &mut rhythm) == Err(Gone) && !self.target.subreaper {
                        break;
                    }
                }
                () = &mut asked => break,
                Ok(()) = self.pace.changed() => {
                    let interval = self.pace.borrow_and_update().unwrap_or(self.interval);
                    rhythm.set_interval(interval, self.clock.mono_ms());
                }
                Some(told) = self.told.recv() => beat.take_told(told, &self),
            }
        }
        debug!(skipped = rhythm.skipped(), "sampling ends");
    }

    fn beat(&self, beat: &mut Beat, rhythm: &mut Rhythm) -> Result<(), Gone> {
        let (begun_ms, begun_cpu_us) = (self.clock.mono_ms(), own_cpu_us());
        let done = self.take(beat, rhythm);
        let cost_us = own_cpu_us().saturating_sub(begun_cpu_us);
        if rhythm.spend(begun_ms, cost_us) {
            beat.tell_cost_once(cost_us);
        }
        if let Some(outbox) = &self.outbox {
            outbox.expect_at(rhythm.due_ms());
            outbox.keep_company(begun_ms, rhythm.due_ms());
        }
        done
    }

    fn take(&self, beat: &mut Beat, rhythm: &mut Rhythm) -> Result<(), Gone> {
        let mut sample = match beat.sample(self) {
            Ok(sample) => sample,
            Err(error) => {
                rhythm.miss(self.clock.mono_ms());
                let gone = matches!(error, SampleError::Gone { .. });
                beat.tell_once(&error);
                return if gone { Err(Gone) } else { Ok(()) };
            }
        };
        beat.trouble.clear();
        rhythm.place(&mut sample);
        sample.vitals.agent.ticks_skipped = rhythm.skipped();
        encode::fold_small(&mut sample.workloads);
        let figures = beat.meter.figures(&sample);
        if let Some(outbox) = &self.outbox {
            let notices_open = self.board.has_notices();
            let is_urgent = beat.urgency.judge(&sample, &figures, notices_open);
            outbox.note(beat.person.activity(&sample));
            outbox.push(&sample, is_urgent || std::mem::take(&mut beat.news));
        }
        self.board.show(Reading { sample, figures });
        Ok(())
    }
}

// === impl Beat ===

impl Beat {
    fn sample(&mut self, observer: &Observer) -> Result<crate::sample::Sample, SampleError> {
        let sampler = match &mut self.sampler {
            Some(sampler) => sampler,
            none => {
                let mut sampler = Sampler::new(observer.target.clone(), PssMode::Budget)?
                    .with_pss_share(observer.pss_share);
                if let Some(told) = self.told.take() {
                    sampler.told(told);
                }
                none.insert(sampler)
            }
        };
        sampler.tick(&*observer.clock)
    }

    fn take_told(&mut self, mut told: Told, observer: &Observer) {
        self.news |= self.person.hear(&told, observer.clock.mono_ms());
        let shown = std::mem::take(&mut told.shown);
        if let Some(outbox) = &observer.outbox
            && !shown.is_empty()
        {
            outbox.show(shown);
            self.news = true;
        }
        match &mut self.sampler {
            Some(sampler) => sampler.told(told),
            None => self.told = Some(told),
        }
    }

    /// One line in our life: how often it happens is in every sample.
    fn tell_cost_once(&mut self, cost_us: u64) {
        if !std::mem::replace(&mut self.told_cost, true) {
            warn!(
                cost_ms = cost_us / 1_000,
                "a sample cost more than one part in {COST_PARTS} of the time between two; \
                 sampling less often until it fits"
            );
        }
    }

    /// One line per trouble, not one per beat.
    fn tell_once(&mut self, error: &SampleError) {
        let trouble = error.to_string();
        if trouble != self.trouble {
            match error {
                SampleError::Gone { .. } => debug!("{trouble}"),
                _ => warn!("cannot sample: {trouble}"),
            }
            self.trouble = trouble;
        }
    }
}

//! What answers cost: `cargo bench -p hubmeter-collector --bench reads -- [flags]`.
//!
//! Fills a data directory with the tiers and the time that the reads touch, serves it on a Unix
//! socket by the real routes, asks, and prints a Markdown table: processor time of the collector's
//! side a read (user and system, the client's thread left out), wall times at the median and the
//! 99th percentile, bytes read from files, bytes of the answer. Files are in the page cache.
//! The last line is how many cells a second a read decodes, all that it does with them included.
//!
//! * `--servers N,N,…`: 1000,10000,50000 unless told; the last takes some 2 GB of disk
//! * `--reads N`: how often each question is asked, 200 unless told
//! * `--only TEXT`: only reads with that in their title, `decoding` the last
//! * `--dir DIR`: where the data go; the system's temporary directory unless told
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    unreachable_pub
)] // its output is its purpose, and times are what it measures

mod ask;
mod fill;

use std::{env, path::PathBuf, sync::Arc, time::Duration};

use hubmeter_collector::{
    clock::ManualClock,
    history::{Column, Field, History, HistoryConfig, HistoryMode, ReadQuery},
};

use ask::{Client, Cost};

/// Servers whose month is filled, of those that are asked about.
pub const MONTHS: usize = 20;

/// Cells stored for a minute that an answer of all columns is made of: its begin, and four of each of
/// 17 metrics.
const COLUMNS_OF_MINUTES: usize = 1 + 4 * 17;

/// One line of the table.
struct Line {
    title: &'static str,
    /// Questions that make up one read, for a server of that number.
    paths: fn(usize) -> String,
    /// Asked about servers with a month only.
    month: bool,
    /// Read to the last page.
    paged: bool,
    /// A hundredth of the reads: it takes so much longer.
    rare: bool,
}

const LINES: [Line; 9] = [
    line("last hour, samples, all columns", |n| {
        history(n, "from=-1h")
    }),
    line("last hour, samples, one column", |n| {
        history(n, "from=-1h&fields=rss_bytes")
    }),
    line("last hour, all columns, CSV", |n| {
        history(n, "from=-1h&format=csv")
    }),
    line("last hour, all columns, Parquet", |n| {
        history(n, "from=-1h&format=parquet")
    }),
    line("last hour in minutes, three columns", |n| {
        let fields = "memory_used_bytes,memory_used_bytes_max,cpu_cores";
        history(n, &format!("from=-1h&step=1m&fields={fields}"))
    }),
    Line {
        month: true,
        ..line("a month in minutes, all columns", |n| {
            history(n, "from=-30d&step=1m")
        })
    },
    Line {
        month: true,
        ..line("a month in minutes, three columns", |n| {
            let fields = "memory_used_bytes,memory_used_bytes_max,cpu_cores";
            history(n, &format!("from=-30d&step=1m&fields={fields}"))
        })
    },
    Line {
        month: true,
        ..line("a month in hours, three columns", |n| {
            let fields = "memory_used_bytes,memory_used_bytes_max,cpu_cores";
            history(n, &format!("from=-30d&step=1h&fields={fields}"))
        })
    },
    Line {
        paged: true,
        rare: true,
        ..line("all servers now", |_| {
            "/api/v1/servers?limit=5000".to_owned()
        })
    },
    // What a user and a group used in a month and in a year is the ledger's to answer.
];

const fn line(title: &'static str, paths: fn(usize) -> String) -> Line {
    Line {
        title,
        paths,
        month: false,
        paged: false,
        rare: false,
    }
}

fn history(server: usize, question: &str) -> String {
    format!(
        "/api/v1/users/{}/server/history?{question}",
        fill::user(server)
    )
}

fn flag(name: &str) -> Option<String> {
    let given: Vec<String> = env::args().collect();
    let at = given.iter().position(|flag| flag == name)?;
    given.get(at + 1).cloned()
}

fn main() {
    let sizes = flag("--servers").unwrap_or_else(|| "1000,10000,50000".to_owned());
    let reads: usize = flag("--reads").map_or(200, |n| n.parse().expect("a number"));
    let only = flag("--only").unwrap_or_default();
    let parent = flag("--dir").map_or_else(env::temp_dir, PathBuf::from);
    println!(
        "| servers | read | CPU, ms | p50, ms | p99, ms | KiB read | KiB answered |\n\
         |---:|---|---:|---:|---:|---:|---:|"
    );
    for size in sizes.split(',') {
        let servers: usize = size.parse().expect("numbers with commas between");
        let dir = tempfile::tempdir_in(&parent).expect("a directory");
        measure(servers, reads, &only, dir.path());
    }
}

fn measure(servers: usize, reads: usize, only: &str, dir: &std::path::Path) {
    let clock = Arc::new(ManualClock::at(fill::NOW_MS));
    let config = HistoryConfig::new(HistoryMode::Files {
        data_dir: dir.to_owned(),
    });
    let open = || History::open(&config, clock.clone()).expect("a history");
    fill::history(&open(), servers);
    let site = ask::Site::start(open(), fill::state(servers), clock.clone(), dir);
    let mut client = site.client();
    for line in LINES.iter().filter(|line| line.title.contains(only)) {
        let reads = if line.rare { reads / 20 } else { reads };
        let of = |at: usize| {
            // Any order will do that jumps about.
            let at = at.wrapping_mul(7919) + 13;
            if line.month {
                at % MONTHS * (servers / MONTHS)
            } else {
                let every = fill::asked_every(servers);
                at % (servers / every) * every
            }
        };
        let ask = |client: &mut Client, at: usize| {
            let path = (line.paths)(of(at));
            if line.paged {
                client.pages(&path)
            } else {
                client.get(&path).1
            }
        };
        for at in 0..reads.div_ceil(10) {
            ask(&mut client, reads + at); // warm
        }
        let cost = Cost::of(reads.max(1), |at| ask(&mut client, at));
        println!(
            "| {servers} | {} | {:.3} | {:.3} | {:.3} | {:.0} | {:.0} |",
            line.title,
            cost.cpu_ms,
            cost.p50_ms,
            cost.p99_ms,
            cost.bytes_read / 1024.0,
            cost.bytes_answered / 1024.0
        );
    }
    if "decoding".contains(only) || only.is_empty() {
        decoding(&open(), servers, reads.div_ceil(10));
    }
}

/// How many stored cells a second come through the whole way of a read, without the answer's text:
/// a month in minutes, all columns.
fn decoding(history: &History, servers: usize, reads: usize) {
    let read = |at: usize| {
        let asked = ReadQuery {
            key: fill::key(at % MONTHS * (servers / MONTHS)),
            from_ms: fill::NOW_MS - 30 * 24 * 3_600_000,
            to_ms: fill::NOW_MS,
            step_ms: Some(60_000),
            fields: Column::ALL.map(Field::from).into(),
        };
        history.read(&asked).expect("a month").time.len() * COLUMNS_OF_MINUTES
    };
    read(0); // warm
    let begin = thread_cpu();
    let cells: usize = (0..reads).map(read).sum();
    let seconds = (thread_cpu() - begin).as_secs_f64();
    println!(
        "| {servers} | decoding a month in minutes, all columns: {:.0} million cells a second \
         | {:.3} | | | | |",
        cells as f64 / seconds / 1e6,
        seconds * 1e3 / reads as f64,
    );
}

fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

//! What recorded servers cost in the raw tier, and how fast chunks are read.

use super::*;
use crate as collector;
use crate::history::{
    chunk::Codec,
    row::{self, Row, Rows},
};

#[path = "../../../../tests/fixtures/store/trace.rs"]
mod trace;

use trace::Trace;

#[test]
fn exploring() {
    for name in ["idle", "mixed", "busy"] {
        let trace = Trace::recorded("link", name);
        for count in [12, trace.samples.len()] {
            let entries = trace.entries(&key(), InstanceId([1; 16]), NOW_MS, count);
            let rows: Rows = entries
                .iter()
                .map(|e| Row::of(e, 0))
                .map(|r| (r.id, Box::new(r)))
                .collect();
            let chunk = row::to_chunk(&rows, NOW_MS);
            let stored = Codec::new().unwrap().encode(&chunk, row::hint);
            println!(
                "{name} {count} rows: {} bytes, {:.2} a row",
                stored.len(),
                stored.len() as f64 / count as f64
            );
            if count > 50 {
                for at in 0..chunk.columns.len() {
                    let mut less = chunk.clone();
                    less.columns[at] = vec![Some(0); less.rows];
                    let b = Codec::new().unwrap().encode(&less, row::hint).len();
                    println!(
                        "   {at}: {:.2} bits a row",
                        (stored.len() as f64 - b as f64) * 8.0 / count as f64
                    );
                }
            }
        }
    }
}

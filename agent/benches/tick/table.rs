//! The tables, in Markdown.

use std::fs;

use crate::{
    machine::Tree,
    measure::{Measure, Row},
};

/// Prints one table; the ratios are to its first row.
pub fn print(tree: &Tree, rows: &[Row], measure: &Measure, how: &str) {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .count();
    let apart = match measure {
        Measure::Hot => "hot",
        Measure::Cold(_) => "cold",
    };
    let processes = tree.processes;
    println!("\n**{processes} idle processes of {all} on the machine, {apart}{how}**\n");
    println!(
        "| | µs a sample | 99th | ns a process | × ours | instructions | a process | calls | opens |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let ours = rows.first().map_or(1.0, |row| row.ns);
    for row in rows {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
        };
        println!(
            "| {} | {:.1} | {} | {:.0} | {:.1} | {} | {} | {} | {} |",
            row.name,
            row.ns / 1e3,
            number(row.p99_ns.map(|ns| ns as f64 / 1e3), 1),
            row.ns / processes as f64,
            row.ns / ours,
            number(row.instructions, 0),
            number(row.instructions.map(|all| all / processes as f64), 0),
            number(row.calls, 1),
            number(row.opened, 2),
        );
    }
}

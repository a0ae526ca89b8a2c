//! The same values as others tell them: every value of every sample, changed or not, since none of
//! these formats remembers the one before.

use std::{collections::BTreeMap, fmt::Write as _};

use prost::Message;

use super::Values;

const USER: &str = "ada.lovelace";

/// `WriteRequest` of Prometheus remote write 1.0 (`prometheus/prompb/remote.proto`).
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// `ExportMetricsServiceRequest` of OTLP 1 (`opentelemetry/proto/metrics/v1/metrics.proto`), as far
/// as gauges of whole numbers need it.
#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_metrics: Vec<ResourceMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceMetrics {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_metrics: Vec<ScopeMetrics>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    string_value: String,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeMetrics {
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Gauge>,
}

#[derive(Clone, PartialEq, Message)]
struct Gauge {
    #[prost(message, repeated, tag = "1")]
    data_points: Vec<NumberDataPoint>,
}

#[derive(Clone, PartialEq, Message)]
struct NumberDataPoint {
    #[prost(fixed64, tag = "3")]
    time_unix_nano: u64,
    #[prost(sfixed64, optional, tag = "6")]
    as_int: Option<i64>,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
}

/// The lines of one scrape, without `HELP` and `TYPE`.
pub(super) fn prometheus_text(told: &[(u64, &Values)]) -> Vec<u8> {
    let mut text = String::new();
    for (name, value) in told.iter().flat_map(|(_, values)| values.iter()) {
        let (metric, workload) = named(name);
        let labels = match workload {
            Some(workload) => format!("user=\"{USER}\",server=\"\",workload=\"{workload}\""),
            None => format!("user=\"{USER}\",server=\"\""),
        };
        writeln!(text, "hubmeter_{metric}{{{labels}}} {value}").unwrap();
    }
    text.into_bytes()
}

pub(super) fn remote_write(told: &[(u64, &Values)]) -> Vec<u8> {
    let label = |name: &str, value: &str| Label {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let timeseries = series(told).into_iter().map(|(name, points)| {
        let (metric, workload) = named(name);
        let mut labels = vec![
            label("__name__", &format!("hubmeter_{metric}")),
            label("user", USER),
        ];
        labels.extend(workload.map(|workload| label("workload", workload)));
        let samples = points.into_iter().map(|(time_ms, value)| Sample {
            value: value as f64,
            timestamp: i64::try_from(time_ms).unwrap(),
        });
        TimeSeries {
            labels,
            samples: samples.collect(),
        }
    });
    let request = WriteRequest {
        timeseries: timeseries.collect(),
    };
    let plain = request.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&plain).unwrap()
}

pub(super) fn otlp(told: &[(u64, &Values)]) -> Vec<u8> {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            string_value: value.to_owned(),
        }),
    };
    let metrics = series(told).into_iter().map(|(name, points)| {
        let (metric, workload) = named(name);
        let data_points = points.into_iter().map(|(time_ms, value)| NumberDataPoint {
            time_unix_nano: time_ms * 1_000_000,
            as_int: i64::try_from(value).ok(),
            attributes: workload
                .map(|id| attribute("workload", id))
                .into_iter()
                .collect(),
        });
        Metric {
            name: format!("hubmeter_{metric}"),
            gauge: Some(Gauge {
                data_points: data_points.collect(),
            }),
        }
    });
    let request = ExportRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("user", USER)],
            }),
            scope_metrics: vec![ScopeMetrics {
                metrics: metrics.collect(),
            }],
        }],
    };
    request.encode_to_vec()
}

/// The points of each value.
fn series<'a>(told: &[(u64, &'a Values)]) -> BTreeMap<&'a str, Vec<(u64, i128)>> {
    let mut series = BTreeMap::<_, Vec<_>>::new();
    for (time_ms, values) in told {
        for (name, value) in *values {
            series.entry(&**name).or_default().push((*time_ms, *value));
        }
    }
    series
}

/// The metric, and whose workload it is.
fn named(name: &str) -> (&str, Option<&str>) {
    match name.split_once(' ') {
        Some((metric, of)) => (metric, of.split_once(' ').map(|(_, id)| id)),
        None => (name, None),
    }
}

//! Forms that history goes out in.

use axum::body::to_bytes;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::Field,
};

use super::bed::{Bed, NOW_MS};
use crate::fact::ServerKey;

const PARQUET: &str = "application/vnd.apache.parquet";

#[tokio::test]
async fn history_comes_as_parquet_by_name_or_by_accept_and_refuses_like_the_others() {
    let bed = Bed::new().await;
    let all = ["custom:hubmeter:read:all"];
    bed.hub.grant("all", "service", "reader", false, &all);
    bed.remember(&ServerKey::new("ann", ""), &[100, 300]);
    let path = "api/v1/users/ann/server/history?fields=rss_bytes,momentum_bytes";
    let by_name = bed.get_as("all", &format!("{path}&format=parquet")).await;
    let headers = [("authorization", "token all"), ("accept", PARQUET)];
    let by_accept = bed.get(path, &headers).await;
    for answer in [by_name, by_accept] {
        assert_eq!(
            (answer.status(), answer.header("content-type")),
            (200, Some(PARQUET))
        );
        let disposition = answer.header("content-disposition");
        assert_eq!(
            disposition,
            Some("attachment; filename=\"history.parquet\"")
        );
        let body = to_bytes(answer.0.into_body(), 1 << 20)
            .await
            .expect("a body");
        let reader = SerializedFileReader::new(body).expect("a file");
        let rows = reader.get_row_iter(None).expect("rows");
        let rows: Vec<Vec<Field>> = rows
            .map(|row| {
                row.expect("a row")
                    .into_columns()
                    .into_iter()
                    .map(|(_, cell)| cell)
                    .collect()
            })
            .collect();
        let row =
            |at_ms, rss, momentum| vec![Field::TimestampMillis(at_ms), Field::Long(rss), momentum];
        let expected = [
            row(NOW_MS - 5_000, 100, Field::Null),
            row(NOW_MS, 300, Field::Long(-1)),
        ];
        assert_eq!(rows, expected);
    }
    let refused = bed
        .get_as("all", "api/v1/users/nobody/server/history?format=parquet")
        .await;
    assert_eq!(
        (refused.status(), refused.header("content-type")),
        (404, Some("application/problem+json"))
    );
}

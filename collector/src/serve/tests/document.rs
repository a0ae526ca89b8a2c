//! The OpenAPI document against the routes.

use serde_json::Value;

use super::bed::{Bed, PREFIX};
use crate::serve::{guard::Access, routes};

async fn document(bed: &Bed) -> Value {
    bed.get("api/openapi.json", &[]).await.json().await
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else_is() {
    let document = document(&Bed::new().await).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], PREFIX.trim_end_matches('/'));
    let mut documented: Vec<_> = document["paths"]
        .as_object()
        .expect("paths")
        .keys()
        .cloned()
        .collect();
    let page = ["assets/{file}", "oauth_callback", "logout"];
    let served = routes()
        .into_iter()
        .filter(|route| route.access != Access::Page && !page.contains(&route.path));
    let mut served: Vec<_> = served.map(|route| format!("/{}", route.path)).collect();
    documented.sort_unstable();
    served.sort_unstable();
    assert_eq!(documented, served);
}

#[tokio::test]
async fn every_documented_parameter_is_taken() {
    let bed = Bed::new().await;
    bed.hub.grant(
        "all",
        "service",
        "reader",
        false,
        &["custom:hubmeter:read:all"],
    );
    let document = document(&bed).await;
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(parameters) = item["get"]["parameters"].as_array() else {
            continue;
        };
        let path = path
            .trim_start_matches('/')
            .replace("{user}", "ann")
            .replace("{name}", "x");
        for parameter in parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
        {
            let name = parameter["name"].as_str().expect("a name");
            let value = match name {
                "user" | "group" => "ann",
                "rule" => "idle",
                "sort" => "user",
                "state" if path.ends_with("verdicts") => "all",
                "state" => "live",
                "fields" => "rss_bytes",
                "format" => "csv",
                "by" => "group",
                "window" => "week",
                "form" => "unique",
                "from" => "-1h",
                "to" => "now",
                "warned" => "true",
                "cursor" => continue,
                _ => "60",
            };
            let answer = bed.get_as("all", &format!("{path}?{name}={value}")).await;
            assert!(
                [200, 404].contains(&answer.status()),
                "{path} {name}: {}",
                answer.status()
            );
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[tokio::test]
async fn the_shapes_in_the_document_are_those_that_are_sent() {
    let bed = Bed::new().await;
    bed.hub.grant(
        "all",
        "service",
        "reader",
        false,
        &["custom:hubmeter:read:all"],
    );
    let document = document(&bed).await;
    let sent = bed
        .get_as("all", "api/v1/users/ann/server")
        .await
        .json()
        .await;
    let schema = &document["components"]["schemas"]["Server"];
    let names = |value: &Value| {
        let mut names: Vec<_> = value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&schema["properties"]), names(&sent));
}

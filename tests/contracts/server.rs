//! AWS's DynamoDB Local, started by the first test that needs it.

use std::{
    fs::{File, read_to_string},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::LazyLock,
    thread::sleep,
    time::{Duration, Instant},
};

use aws_smithy_runtime_api::client::{
    http::{HttpConnector, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/dynamodb-local");
const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/dynamodb-local.log");

/// A test's process may end in any way, and its server must not outlive it: the shell ends it as
/// soon as its own input, which the test's process holds, is closed.
const SCRIPT: &str = r#"java "$@" & cat > /dev/null; kill $!"#;

struct Server {
    url: String,
    _process: Child,
}

/// The server's address.
///
/// # Panics
/// If it is not there or does not start, with what to do about it.
pub fn dynamodb_local() -> &'static str {
    static SERVER: LazyLock<Result<Server, String>> = LazyLock::new(start);
    match &*SERVER {
        Ok(server) => &server.url,
        Err(problem) => panic!("{problem}"),
    }
}

fn start() -> Result<Server, String> {
    if !Path::new(DIRECTORY).join("DynamoDBLocal.jar").exists() {
        return Err(
            "DynamoDB Local is not in .cache/dynamodb-local: run scripts/test, which fetches it".to_owned()
        );
    }
    let told = |error: std::io::Error| format!("DynamoDB Local can't be started: {error}");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).map_err(told)?;
    let log = File::create(LOG).map_err(told)?;
    let java =
        ["-XX:TieredStopAtLevel=1", "-Djava.library.path=DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"];
    let process = Command::new("sh")
        .args(["-c", SCRIPT, "sh"])
        .args(java)
        .args(["-inMemory", "-disableTelemetry", "-port", &free.port().to_string()])
        .current_dir(DIRECTORY)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().map_err(told)?)
        .stderr(log)
        .spawn()
        .map_err(told)?;
    let patience = Instant::now() + Duration::from_mins(1);
    while TcpStream::connect(free).is_err() {
        if Instant::now() > patience {
            let log = read_to_string(LOG).unwrap_or_default();
            return Err(format!("DynamoDB Local does not answer; it needs Java 17 or later. It said: {log}"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(Server { url: format!("http://{free}"), _process: process })
}

/// Makes a table as the template describes it. The server believes every signature.
pub async fn create_table(connector: &SharedHttpConnector, url: &str, access_key: &str, table: &Value) {
    let body = table.to_string();
    let mut request = HttpRequest::new(SdkBody::empty());
    request.set_method("POST").unwrap();
    request.set_uri(url).unwrap();
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/20270301/{}/dynamodb/aws4_request",
        michi::template::REGION
    );
    for (name, value) in [
        ("authorization", format!("{scope}, SignedHeaders=host, Signature=none")),
        ("content-length", body.len().to_string()),
        ("content-type", "application/x-amz-json-1.0".to_owned()),
        ("x-amz-target", "DynamoDB_20120810.CreateTable".to_owned()),
    ] {
        request.headers_mut().insert(name, value);
    }
    *request.body_mut() = SdkBody::from(body);
    let answer = connector.call(request).await.unwrap();
    assert!(answer.status().is_success(), "{table}: {answer:?}");
}

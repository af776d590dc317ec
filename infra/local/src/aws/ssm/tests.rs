use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::ParameterType;

use crate::engine::tests::cloud;

#[tokio::test]
async fn a_secret_is_shown_only_to_who_asks_for_decryption() {
    let cloud = cloud();
    let client = Client::new(&cloud.sdk_config());
    let put = |value: &str, overwrite: bool| {
        let put = client.put_parameter().name("/michi/keys").value(value);
        put.r#type(ParameterType::SecureString).overwrite(overwrite).send()
    };
    assert_eq!(put("secret", false).await.unwrap().version(), 1);
    let error = put("other", false).await.unwrap_err().into_service_error();
    assert!(error.is_parameter_already_exists(), "{error:?}");
    assert_eq!(put("newer", true).await.unwrap().version(), 2);
    let get = |decrypt: bool| {
        let get = client.get_parameter().name("/michi/keys");
        get.with_decryption(decrypt).send()
    };
    let shown = get(true).await.unwrap().parameter.unwrap();
    assert_eq!(shown.value(), Some("newer"));
    let hidden = get(false).await.unwrap().parameter.unwrap();
    assert_ne!(hidden.value(), Some("newer"));
    let missing = client.get_parameter().name("/none").send().await;
    assert!(missing.unwrap_err().into_service_error().is_parameter_not_found());
}

//! The A2A 1.0 AgentCard. `signatures` is left out: no form contains it.

use super::{
    Field, Kind, Message,
    Presence::{Implicit, Optional, Required},
};

const fn field(name: &'static str, presence: super::Presence, kind: Kind) -> Field {
    Field { name, presence, kind }
}

const fn message(fields: &'static [Field]) -> Message {
    Message { fields, is_choice: false }
}

pub(crate) static AGENT_CARD: Message = message(&[
    field("name", Required, Kind::Text),
    field("description", Required, Kind::Text),
    field("supportedInterfaces", Required, Kind::Messages(&AGENT_INTERFACE)),
    field("provider", Optional, Kind::Message(&AGENT_PROVIDER)),
    field("version", Required, Kind::Text),
    field("documentationUrl", Optional, Kind::Text),
    field("capabilities", Required, Kind::Message(&AGENT_CAPABILITIES)),
    field("securitySchemes", Implicit, Kind::MessageMap(&SECURITY_SCHEME)),
    field("securityRequirements", Implicit, Kind::Messages(&SECURITY_REQUIREMENT)),
    field("defaultInputModes", Required, Kind::Texts),
    field("defaultOutputModes", Required, Kind::Texts),
    field("skills", Required, Kind::Messages(&AGENT_SKILL)),
    field("iconUrl", Optional, Kind::Text),
]);

static AGENT_INTERFACE: Message = message(&[
    field("url", Required, Kind::Text),
    field("protocolBinding", Required, Kind::Text),
    field("tenant", Implicit, Kind::Text),
    field("protocolVersion", Required, Kind::Text),
]);

static AGENT_PROVIDER: Message =
    message(&[field("url", Required, Kind::Text), field("organization", Required, Kind::Text)]);

static AGENT_CAPABILITIES: Message = message(&[
    field("streaming", Optional, Kind::Flag),
    field("pushNotifications", Optional, Kind::Flag),
    field("extensions", Implicit, Kind::Messages(&AGENT_EXTENSION)),
    field("extendedAgentCard", Optional, Kind::Flag),
]);

static AGENT_EXTENSION: Message = message(&[
    field("uri", Implicit, Kind::Text),
    field("description", Implicit, Kind::Text),
    field("required", Implicit, Kind::Flag),
    field("params", Optional, Kind::Parameters),
]);

static AGENT_SKILL: Message = message(&[
    field("id", Required, Kind::Text),
    field("name", Required, Kind::Text),
    field("description", Required, Kind::Text),
    field("tags", Required, Kind::Texts),
    field("examples", Implicit, Kind::Texts),
    field("inputModes", Implicit, Kind::Texts),
    field("outputModes", Implicit, Kind::Texts),
    field("securityRequirements", Implicit, Kind::Messages(&SECURITY_REQUIREMENT)),
]);

static SECURITY_REQUIREMENT: Message = message(&[field("schemes", Implicit, Kind::MessageMap(&STRING_LIST))]);

static STRING_LIST: Message = message(&[field("list", Implicit, Kind::Texts)]);

static SECURITY_SCHEME: Message = Message {
    fields: &[
        field("apiKeySecurityScheme", Optional, Kind::Message(&API_KEY_SECURITY_SCHEME)),
        field("httpAuthSecurityScheme", Optional, Kind::Message(&HTTP_AUTH_SECURITY_SCHEME)),
        field("oauth2SecurityScheme", Optional, Kind::Message(&OAUTH2_SECURITY_SCHEME)),
        field("openIdConnectSecurityScheme", Optional, Kind::Message(&OPEN_ID_CONNECT_SECURITY_SCHEME)),
        field("mtlsSecurityScheme", Optional, Kind::Message(&MUTUAL_TLS_SECURITY_SCHEME)),
    ],
    is_choice: true,
};

static API_KEY_SECURITY_SCHEME: Message = message(&[
    field("description", Implicit, Kind::Text),
    field("location", Required, Kind::Text),
    field("name", Required, Kind::Text),
]);

static HTTP_AUTH_SECURITY_SCHEME: Message = message(&[
    field("description", Implicit, Kind::Text),
    field("scheme", Required, Kind::Text),
    field("bearerFormat", Implicit, Kind::Text),
]);

static OAUTH2_SECURITY_SCHEME: Message = message(&[
    field("description", Implicit, Kind::Text),
    field("flows", Required, Kind::Message(&OAUTH_FLOWS)),
    field("oauth2MetadataUrl", Implicit, Kind::Text),
]);

static OPEN_ID_CONNECT_SECURITY_SCHEME: Message =
    message(&[field("description", Implicit, Kind::Text), field("openIdConnectUrl", Required, Kind::Text)]);

static MUTUAL_TLS_SECURITY_SCHEME: Message = message(&[field("description", Implicit, Kind::Text)]);

static OAUTH_FLOWS: Message = Message {
    fields: &[
        field("authorizationCode", Optional, Kind::Message(&AUTHORIZATION_CODE_FLOW)),
        field("clientCredentials", Optional, Kind::Message(&CLIENT_CREDENTIALS_FLOW)),
        field("implicit", Optional, Kind::Message(&IMPLICIT_FLOW)),
        field("password", Optional, Kind::Message(&PASSWORD_FLOW)),
        field("deviceCode", Optional, Kind::Message(&DEVICE_CODE_FLOW)),
    ],
    is_choice: true,
};

static AUTHORIZATION_CODE_FLOW: Message = message(&[
    field("authorizationUrl", Required, Kind::Text),
    field("tokenUrl", Required, Kind::Text),
    field("refreshUrl", Implicit, Kind::Text),
    field("scopes", Required, Kind::TextMap),
    field("pkceRequired", Implicit, Kind::Flag),
]);

static CLIENT_CREDENTIALS_FLOW: Message = message(&[
    field("tokenUrl", Required, Kind::Text),
    field("refreshUrl", Implicit, Kind::Text),
    field("scopes", Required, Kind::TextMap),
]);

static IMPLICIT_FLOW: Message = message(&[
    field("authorizationUrl", Implicit, Kind::Text),
    field("refreshUrl", Implicit, Kind::Text),
    field("scopes", Implicit, Kind::TextMap),
]);

static PASSWORD_FLOW: Message = message(&[
    field("tokenUrl", Implicit, Kind::Text),
    field("refreshUrl", Implicit, Kind::Text),
    field("scopes", Implicit, Kind::TextMap),
]);

static DEVICE_CODE_FLOW: Message = message(&[
    field("deviceAuthorizationUrl", Required, Kind::Text),
    field("tokenUrl", Required, Kind::Text),
    field("refreshUrl", Implicit, Kind::Text),
    field("scopes", Required, Kind::TextMap),
]);

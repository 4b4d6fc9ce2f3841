//! The card as the Kagenti operator's structure has it (mid-2026). Presence plays no part there.

use super::{Field, Kind, Message, Presence::Optional};

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, presence: Optional, kind }
}

const fn message(fields: &'static [Field]) -> Message {
    Message { fields, is_choice: false }
}

pub(in crate::canonical) static AGENT_CARD: Message = message(&[
    field("name", Kind::Text),
    field("description", Kind::Text),
    field("version", Kind::Text),
    field("url", Kind::Text),
    field("documentationUrl", Kind::Text),
    field("iconUrl", Kind::Text),
    field("provider", Kind::Message(&PROVIDER)),
    field("capabilities", Kind::Message(&CAPABILITIES)),
    field("defaultInputModes", Kind::Texts),
    field("defaultOutputModes", Kind::Texts),
    field("skills", Kind::Messages(&SKILL)),
    field("supportsAuthenticatedExtendedCard", Kind::Flag),
]);

static PROVIDER: Message = message(&[field("organization", Kind::Text), field("url", Kind::Text)]);

static CAPABILITIES: Message = message(&[
    field("streaming", Kind::Flag),
    field("pushNotifications", Kind::Flag),
    field("extensions", Kind::Messages(&EXTENSION)),
]);

static EXTENSION: Message = message(&[
    field("uri", Kind::Text),
    field("description", Kind::Text),
    field("required", Kind::Flag),
    field("params", Kind::Parameters),
]);

static SKILL: Message = message(&[
    field("id", Kind::Text),
    field("name", Kind::Text),
    field("description", Kind::Text),
    field("tags", Kind::Texts),
    field("examples", Kind::Texts),
    field("inputModes", Kind::Texts),
    field("outputModes", Kind::Texts),
    field("parameters", Kind::Messages(&SKILL_PARAMETER)),
]);

static SKILL_PARAMETER: Message = message(&[
    field("name", Kind::Text),
    field("type", Kind::Text),
    field("description", Kind::Text),
    field("required", Kind::Flag),
    field("default", Kind::Text),
]);

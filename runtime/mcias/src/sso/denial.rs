//! Owns how the provider says no: the error codes of RFC 6749, RFC 6750 and OpenID Connect Core, with a sentence that never
//! repeats what was sent.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request is malformed, or lacks something.
    InvalidRequest,
    /// The client is not there, or did not prove what it is.
    InvalidClient,
    /// The code is none, or not this client's, or was used.
    InvalidGrant,
    /// Another grant than a code.
    UnsupportedGrantType,
    /// Another answer than a code.
    UnsupportedResponseType,
    /// `openid` is not among the scopes.
    InvalidScope,
    /// The login policy does not let this account in there.
    AccessDenied,
    /// Nobody is signed in, and nobody may be asked.
    LoginRequired,
    /// The request comes as an object of its own.
    RequestNotSupported,
    /// The same, by its address.
    RequestUriNotSupported,
    /// Clients register with the operator alone.
    RegistrationNotSupported,
    /// Too much is under way.
    TemporarilyUnavailable,
    /// The access token is none.
    InvalidToken,
    /// The access token is not for this.
    InsufficientScope,
}

impl Kind {
    /// The word of the standard.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::RegistrationNotSupported => "registration_not_supported",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }

    /// The status of an answer that says it (RFC 6749, section 5.2; RFC 6750, section 3.1).
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::InsufficientScope | Self::AccessDenied => 403,
            Self::TemporarilyUnavailable => 503,
            _ => 400,
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denial {
    /// What is wrong.
    pub kind: Kind,
    /// The same for whoever builds the client.
    pub description: &'static str,
}

impl Denial {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(kind: Kind, description: &'static str) -> Self {
        Self { kind, description }
    }
}

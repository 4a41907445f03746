"""Webhook endpoints, the events they are told of, and each telling."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)

from core.tables.columns import metadata, moment

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", ARRAY(Text), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("disabled_reason", Text),
    Column("secret_encrypted", LargeBinary, nullable=False),
    Column("secret_hint", Text, nullable=False),
    Column("old_secret_encrypted", LargeBinary),
    moment("old_secret_until", nullable=True),
    moment("created_at", default=True),
    Index("webhook_endpoints_tenant_id_id_idx", "tenant_id", "id"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("type", Text, nullable=False),
    Column("job_id", Uuid),
    Column("group_id", Uuid),
    Column("payload", Text, nullable=False),
    Column("traceparent", Text),
    moment("created_at", default=True),
    Index("webhook_events_job_id_idx", "job_id", postgresql_where=text("job_id is not null")),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, ForeignKey("webhook_events.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("endpoint_id", Uuid),
    Column("url", Text, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    # What takes turns and is limited: a registered endpoint, or the host of a job's own webhook URL.
    Column(
        "target",
        Uuid,
        Computed(
            "coalesce(endpoint_id, md5(tenant_id::text || coalesce(substring(url from '^[a-z]+://[^/?#]+'), ''))::uuid)",
            persisted=True,
        ),
        nullable=False,
    ),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Column("tries", SmallInteger, nullable=False, server_default=text("0")),
    moment("next_try_at", nullable=True, default=True),
    Column("lease_no", Integer, nullable=False, server_default=text("0")),
    Column("leased_by", Uuid),
    moment("lease_until", nullable=True),
    Column("last_status", Integer),
    Column("last_error", Text),
    Column("last_duration_ms", Double),
    moment("created_at", default=True),
    moment("delivered_at", nullable=True),
    Index("webhook_deliveries_tenant_id_id_idx", "tenant_id", "id"),
    Index("webhook_deliveries_due_idx", "target", "next_try_at", postgresql_where=text("status = 'pending'")),
    # For the sweep's glance: is anything due at all, however many wait for later tries.
    Index("webhook_deliveries_next_try_at_idx", "next_try_at", postgresql_where=text("status = 'pending'")),
    Index("webhook_deliveries_in_flight_idx", "target", postgresql_where=text("status = 'sending'")),
    Index("webhook_deliveries_sending_idx", "lease_until", postgresql_where=text("status = 'sending'")),
    Index(
        "webhook_deliveries_endpoint_id_idx", "endpoint_id", postgresql_where=text("status in ('pending','sending')")
    ),
    CheckConstraint("status in ('pending','sending','delivered','exhausted','cancelled')", name="status"),
    CheckConstraint("(status = 'delivered') = (delivered_at is not null)", name="delivered_at"),
    CheckConstraint("(status = 'sending') = (lease_until is not null)", name="lease_until"),
)

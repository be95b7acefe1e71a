/* schema.c -- the repository's tables, as numbered migrations. A migration that has been released
 * is never changed: a new one follows it. Times are microseconds since 1970 UTC. */
#include "care/care_int.h"

const char *const care_migrations[] = {
    /* 1: patients, scores, flags, worklist */
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);"
    "INSERT INTO counter VALUES ('change', 0);"
    "CREATE TABLE applied (source TEXT PRIMARY KEY, next_seq BIGINT NOT NULL);"
    "CREATE TABLE patient ("
    "  patient_id TEXT PRIMARY KEY, name TEXT, initials TEXT, age_years BIGINT, gender TEXT,"
    "  identifier TEXT, location TEXT, unit TEXT, news2_low BIGINT, news2_high BIGINT,"
    "  news2_band TEXT, news2_complete BIGINT, risk DOUBLE PRECISION, risk_band TEXT,"
    "  window_end_us BIGINT NOT NULL, scored_us BIGINT NOT NULL, record TEXT NOT NULL,"
    "  risk_assessment_id TEXT, trace TEXT, change BIGINT NOT NULL);"
    "CREATE TABLE score ("
    "  patient_id TEXT NOT NULL, window_end_us BIGINT NOT NULL, scored_us BIGINT NOT NULL,"
    "  news2_low BIGINT, news2_high BIGINT, risk DOUBLE PRECISION,"
    "  PRIMARY KEY (patient_id, window_end_us, scored_us)) WITHOUT ROWID;"
    "CREATE TABLE reading ("
    "  patient_id TEXT NOT NULL, code TEXT NOT NULL, time_us BIGINT NOT NULL,"
    "  value DOUBLE PRECISION NOT NULL, PRIMARY KEY (patient_id, code, time_us)) WITHOUT ROWID;"
    "CREATE TABLE alert_state ("
    "  patient_id TEXT NOT NULL, rule TEXT NOT NULL, phase BIGINT NOT NULL, since_us BIGINT NOT "
    "NULL,"
    "  last_us BIGINT NOT NULL, evaluations BIGINT NOT NULL, level DOUBLE PRECISION NOT NULL,"
    "  flag_id TEXT NOT NULL, PRIMARY KEY (patient_id, rule));"
    "CREATE TABLE flag ("
    "  flag_id TEXT PRIMARY KEY, patient_id TEXT NOT NULL, rule TEXT NOT NULL,"
    "  severity TEXT NOT NULL, title TEXT NOT NULL, opened_us BIGINT NOT NULL,"
    "  updated_us BIGINT NOT NULL, closed_us BIGINT, trace TEXT);"
    "CREATE INDEX flag_patient ON flag (patient_id, opened_us);"
    "CREATE TABLE item ("
    "  id INTEGER PRIMARY KEY, flag_id TEXT NOT NULL UNIQUE REFERENCES flag (flag_id),"
    "  patient_id TEXT NOT NULL, state TEXT NOT NULL, opened_us BIGINT NOT NULL,"
    "  due_us BIGINT NOT NULL, assignee TEXT, acknowledged_by TEXT, acknowledged_us BIGINT,"
    "  created_us BIGINT NOT NULL, trace TEXT, change BIGINT NOT NULL);"
    "CREATE INDEX item_patient ON item (patient_id, state);"
    "CREATE TABLE item_act ("
    "  id INTEGER PRIMARY KEY, item_id BIGINT NOT NULL REFERENCES item (id), what TEXT NOT NULL,"
    "  user_name TEXT NOT NULL, time_us BIGINT NOT NULL, text TEXT);"
    "CREATE INDEX item_act_item ON item_act (item_id, id);",

    /* 2: lists, reports, cards */
    "CREATE TABLE list (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, made_by TEXT NOT NULL,"
    "  made_us BIGINT NOT NULL);"
    "CREATE TABLE list_member (list_id BIGINT NOT NULL REFERENCES list (id),"
    "  patient_id TEXT NOT NULL, PRIMARY KEY (list_id, patient_id));"
    "CREATE TABLE report (id INTEGER PRIMARY KEY, as_of_us BIGINT NOT NULL,"
    "  next_us BIGINT NOT NULL, body TEXT NOT NULL);"
    "CREATE TABLE target (name TEXT PRIMARY KEY, format TEXT NOT NULL);"
    "CREATE TABLE card ("
    "  id INTEGER PRIMARY KEY, card_key TEXT NOT NULL UNIQUE, target TEXT NOT NULL,"
    "  patient_id TEXT NOT NULL, flag_id TEXT NOT NULL, change_kind TEXT NOT NULL,"
    "  severity TEXT NOT NULL, title TEXT NOT NULL, location TEXT, initials TEXT, trace TEXT,"
    "  time_us BIGINT NOT NULL, due_us BIGINT, state TEXT NOT NULL, attempts BIGINT NOT NULL,"
    "  why TEXT, sent_us BIGINT);"
    "CREATE INDEX card_due ON card (state, due_us);",

    /* 3: people */
    "CREATE TABLE person (name TEXT PRIMARY KEY, role TEXT NOT NULL, display TEXT NOT NULL,"
    "  password_hash TEXT NOT NULL, is_enabled BIGINT NOT NULL);"
    "CREATE TABLE login (secret_hash TEXT PRIMARY KEY, kind TEXT NOT NULL,"
    "  person TEXT NOT NULL REFERENCES person (name), expires_us BIGINT NOT NULL);"
    "CREATE TABLE audit (id INTEGER PRIMARY KEY, time_us BIGINT NOT NULL, person TEXT NOT NULL,"
    "  what TEXT NOT NULL, subject TEXT NOT NULL);"
    "CREATE TRIGGER audit_kept BEFORE DELETE ON audit BEGIN"
    "  SELECT RAISE(ABORT, 'the audit record is append-only'); END;"
    "CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit BEGIN"
    "  SELECT RAISE(ABORT, 'the audit record is append-only'); END;",

    /* 4: silence, the end of monitoring, snooze and escalation */
    "ALTER TABLE patient ADD COLUMN heard_us BIGINT;"
    "ALTER TABLE patient ADD COLUMN ended_us BIGINT;"
    "UPDATE patient SET heard_us = (SELECT max(time_us) FROM reading WHERE reading.patient_id = "
    "  patient.patient_id);"
    "CREATE INDEX patient_heard ON patient (heard_us);"
    "CREATE INDEX flag_open ON flag (patient_id) WHERE closed_us IS NULL;"
    "ALTER TABLE item ADD COLUMN snoozed_until_us BIGINT;"
    "ALTER TABLE item ADD COLUMN escalate_us BIGINT;"
    "ALTER TABLE item ADD COLUMN escalations BIGINT NOT NULL DEFAULT 0;"
    "CREATE INDEX item_waiting ON item (state) WHERE state <> 'resolved';",

    /* 5: what an episode rests on */
    "ALTER TABLE alert_state ADD COLUMN parts BIGINT NOT NULL DEFAULT 0;",
};
const int care_migration_count = sizeof(care_migrations) / sizeof(care_migrations[0]);

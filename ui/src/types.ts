// types.ts -- what the server says (docs/api.md).

export type Role = 'viewer' | 'nurse' | 'doctor' | 'coordinator' | 'admin';
export type Me = { user: { name: string; display: string; role: Role }; csrf: string; idleSeconds?: number };

export type Vital = { name: string; value?: number; text?: string; unit?: string; time: string; state: string };
export type Flag = { id: string; rule: string; severity: string; title: string; since?: string; opened?: string; closed?: string | null };
export type Point = [number, number];

export type Row = {
  patientId: string; name: string; initials: string; ageYears?: number; gender?: string; identifier?: string;
  location: string; unit: string;
  news2: { low: number; high: number; band: string; complete: boolean } | null;
  risk: number | null; riskBand: string | null; time: string;
  vitals: Record<string, Vital>; spark: Record<string, Point[]>; news2Spark: Point[];
  flag: Flag | null; item: { id: number | string; state: string; assignee: string | null; snoozedUntil?: string | null } | null;
  trend: string; change: number; ended?: string | null;
};

export type Item = {
  id: number | string; patientId: string; name: string; location: string; severity: string; title: string;
  state: string; opened: string; dueTime: string; assignee: string | null;
  acknowledgedBy: string | null; acknowledged: string | null; flagOpen: boolean; change?: number;
  rule?: string; snoozedUntil?: string | null;
  history: { what: string; user: string; time: string; text: string }[];
};

export type Health = { ok: boolean; troubles: { area: string; code: string; text: string; since?: string }[]; version?: string };

export type Part = { part: string; score: number; value?: number; text?: string; unit?: string; time?: string; state: string };
export type PatientPage = {
  row: Row;
  news2: { low: number; high: number; complete: boolean; singleThree?: boolean; band: string; parts: Part[] } | null;
  model: { name: string; version: string; probability: number; horizonHours: number; band: string; contributions: { vital: string; value: number; text: string }[] } | null;
  vitals: (Vital & { code: string })[];
  rejected: (Vital & { code: string; reason: string })[] | null;
  series: Record<string, { name: string; unit: string; points: Point[] }>;
  scores: [number, number, number, number | null][];
  flags: Flag[]; items: Item[];
};

export type Step = {
  step: number; name: string; path: string; count: number; ratePerSecond: number; lag: number; p99Ms: number;
  last: string | null; error: string; errorTime: string | null;
};
export type Trace = { id: string; device: string; received: string; isWhole?: boolean; steps: { step: number; name: string; time?: string; ms?: number; text?: string }[] };

// api.ts -- calls to the server, and who is logged in.
import { signal } from '@preact/signals';
import type { Me } from './types';

export const me = signal<Me | null | undefined>(undefined); // undefined: not asked yet
export const endedReason = signal('');

export class ApiError extends Error {
  constructor(public status: number, public code: string, text: string) {
    super(text);
  }
}

type Options = { body?: unknown; isBackground?: boolean; signal?: AbortSignal; onText?: (text: string) => void };

// `isBackground`: the page asks by itself; such a call does not keep the session alive.
export async function api<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  if (method !== 'GET' && me.value) headers['X-Vigil-CSRF'] = me.value.csrf;
  if (options.isBackground) headers['X-Vigil-Background'] = '1';
  let answer: Response;
  try {
    answer = await fetch(`/api${path}`, {
      method, headers, credentials: 'same-origin', cache: 'no-store', signal: options.signal,
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error;
    throw new ApiError(0, 'web.unreachable', 'The server cannot be reached. Nothing was changed.');
  }
  const text = await answer.text();
  let json: any = null;
  try { json = JSON.parse(text); } catch { /* said below */ }
  if (answer.ok && json !== null) {
    options.onText?.(text); // whoever needs each number's own digits
    return json as T;
  }
  if (answer.status === 401 && path !== '/login') sessionEnded('Your session has ended. Please log in again.');
  throw new ApiError(answer.status, json?.error?.code ?? 'web.answer', json?.error?.text ?? `The server answered ${answer.status}.`);
}

export function sessionEnded(reason: string) {
  if (me.value) endedReason.value = reason;
  me.value = null;
}

export async function login(user: string, password: string) {
  const answer = await api<Me>('POST', '/login', { body: { user, password } });
  endedReason.value = '';
  me.value = answer;
}

export async function logout() {
  try {
    await api('POST', '/logout');
  } finally {
    endedReason.value = '';
    me.value = null;
  }
}

export async function whoAmI() {
  try {
    me.value = await api<Me>('GET', '/me', { isBackground: true });
  } catch (error) {
    if ((error as ApiError).status === 0) endedReason.value = (error as Error).message;
    me.value = null;
  }
}

export const mayAct = () => !!me.value && me.value.user.role !== 'viewer';
export const mayAdmin = () => me.value?.user.role === 'admin' || me.value?.user.role === 'coordinator';
export const isAdmin = () => me.value?.user.role === 'admin';

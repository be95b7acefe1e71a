// theme.ts -- light or dark: as the system has it, until somebody chooses.
import { effect, signal } from '@preact/signals';

const dark = matchMedia('(prefers-color-scheme: dark)');
const chosen = localStorage.getItem('theme');
export const theme = signal<'light' | 'dark'>(chosen === 'light' || chosen === 'dark' ? chosen : dark.matches ? 'dark' : 'light');
dark.addEventListener('change', () => { if (!localStorage.getItem('theme')) theme.value = dark.matches ? 'dark' : 'light'; });
effect(() => { document.documentElement.dataset.theme = theme.value; });

export function toggleTheme() {
  theme.value = theme.value === 'dark' ? 'light' : 'dark';
  localStorage.setItem('theme', theme.value);
}

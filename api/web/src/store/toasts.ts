// Short messages that come and go; errors stay until they are closed.
import { signal } from "@preact/signals";
import { messageOf } from "../http/request";

export interface Toast {
  readonly id: number;
  readonly kind: "done" | "error";
  readonly text: string;
  readonly link?: { readonly href: string; readonly label: string };
}

const SHOWN_MS = 6000;
let next = 1;

export const toasts = signal<readonly Toast[]>([]);

export function tell(text: string, link?: Toast["link"]): void {
  const id = add(link ? { kind: "done", text, link } : { kind: "done", text });
  setTimeout(() => dismiss(id), SHOWN_MS);
}

export function tellError(error: unknown): void {
  warn(messageOf(error));
}

export function warn(text: string): void {
  if (!toasts.value.some((toast) => toast.kind === "error" && toast.text === text)) add({ kind: "error", text });
}

export function dismiss(id: number): void {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

function add(toast: Omit<Toast, "id">): number {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { ...toast, id }];
  return id;
}

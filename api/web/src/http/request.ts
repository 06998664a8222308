// The one function that talks HTTP to the api, and the one error that it throws.
import { csrf } from "../session";

/** A request that did not work: `message` is one sentence for a person. */
export class ApiError extends Error {
  override readonly name = "ApiError";

  constructor(
    message: string,
    /** HTTP status; 0 when no answer came. */
    readonly status: number,
    /** Dotted name of the field that is wrong; empty when it is not about one. */
    readonly field = "",
  ) {
    super(message);
  }

  /** True when the same request may well work later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

export interface RequestOptions {
  readonly method?: "GET" | "POST" | "DELETE";
  /** Sent as JSON, or as it is when it is a form. */
  readonly body?: unknown;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly signal?: AbortSignal;
}

/** Asks the api and gives its JSON; throws ApiError for everything that is not a 2xx answer. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const isForm = options.body instanceof FormData;
  const init: RequestInit = { method: options.method ?? "GET", headers: { Accept: "application/json", ...(csrf && { "X-CSRF-Token": csrf }) } };
  if (options.signal) init.signal = options.signal;
  if (options.body !== undefined) {
    init.body = isForm ? (options.body as FormData) : JSON.stringify(options.body);
    if (!isForm) init.headers = { ...init.headers, "Content-Type": "application/json" };
  }
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}${queryString(options.query)}`, init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError("The server does not answer. It may be restarting.", 0);
  }
  if (response.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!response.ok) throw await toApiError(response);
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiError("The server's answer broke off.", 0);
  }
}

function queryString(query: RequestOptions["query"]): string {
  const entries = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== "");
  return entries.length ? `?${new URLSearchParams(entries.map(([key, value]) => [key, String(value)]))}` : "";
}

async function toApiError(response: Response): Promise<ApiError> {
  const fallback = `The server answered ${response.status}${response.statusText ? ` (${response.statusText})` : ""}.`;
  try {
    const body = (await response.json()) as { error?: unknown; field?: unknown };
    const field = typeof body.field === "string" ? body.field : "";
    const message = typeof body.error === "string" && body.error ? body.error : fallback;
    return new ApiError(withoutField(message, field), response.status, field);
  } catch {
    return new ApiError(fallback, response.status);
  }
}

/** The sentence alone: its field's technical name need not be said again beside the field. */
function withoutField(message: string, field: string): string {
  if (!field || !message.startsWith(`${field}: `)) return message;
  const sentence = message.slice(field.length + 2);
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** What to tell a person about any thrown thing. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

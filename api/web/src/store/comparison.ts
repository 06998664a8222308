// The jobs that are compared, each followed as on its own page.
import { signal } from "@preact/signals";
import { JobSession } from "./job_session";

export class Comparison {
  /** By job id. */
  readonly sessions = signal<ReadonlyMap<number, JobSession>>(new Map());

  /** Follows these jobs, and no other. */
  choose(ids: readonly number[]): void {
    const before = this.sessions.value;
    for (const [id, session] of before) if (!ids.includes(id)) session.close();
    this.sessions.value = new Map(ids.map((id) => [id, before.get(id) ?? opened(id)]));
  }
}

function opened(id: number): JobSession {
  const session = new JobSession(id);
  session.open();
  return session;
}

// What stands where content is not: nothing yet, still loading, or a problem.
import type { ComponentChildren } from "preact";
import { ApiError, messageOf } from "../http/request";
import { roleFor, session } from "../session";
import { Said } from "./Said";

interface Others {
  readonly href: string;
  readonly label: string;
}

const BARS = [14, 30, 46, 24, 38, 18, 28];
const QUEUE: Others = { href: "/", label: "Go to the queue" };

export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="card empty">
      <div class="empty-art" aria-hidden="true">{BARS.map((height, index) => <i key={index} style={{ blockSize: `${height}px` }} />)}</div>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** In the place of what takes a role that who is logged in does not have; nothing where they may. */
export function Refused({ route, what }: { route: string; what: string }) {
  const role = roleFor(route);
  return role ? <p class="muted">{what} takes the role {role}, and you are logged in as {session?.role}: ask an administrator.</p> : null;
}

export function Loading({ what }: { what: string }) {
  return <p class="loading" role="status">Loading {what} …</p>;
}

/** What went wrong, with what helps: another try, or a way to `others` where there is nothing and never will be. */
export function Problem({ error, retry, others = QUEUE }: { error: unknown; retry?: () => void; others?: Others }) {
  const isNothing = error instanceof ApiError && error.status === 404;
  return (
    <div class="card problem" role="alert">
      <p><Said text={messageOf(error)} /></p>
      {isNothing ? <a class="button" href={others.href}>{others.label}</a>
        : retry && <button type="button" class="button" onClick={retry}>Try again</button>}
    </div>
  );
}

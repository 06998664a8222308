// Who is logged in and what they may, as the server wrote it into the page; nobody where nobody has to log in.
import type { Wire } from "./model/wire_types";

const meta = typeof document === "undefined" ? null : document.querySelector<HTMLMetaElement>("meta[name=csrf]");
/** What proves that a change comes from this page. */
export const csrf = meta?.content ?? null;
export const session = meta && (JSON.parse(meta.dataset["session"] ?? "{}") as Wire<"SessionView">);

/** Whether they may call a route, by its name in the api's table of roles, such as "jobs.submit_job". */
export const may = (route: string): boolean => !roleFor(route);

/** The role that a route takes and they do not have; nothing where they may call it. */
export const roleFor = (route: string): string => session?.refused[route] ?? "";

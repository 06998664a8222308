// The frame around every page: navigation, connection, theme.
import { useLocation } from "preact-iso";
import { ago } from "../format";
import { request } from "../http/request";
import { may, session } from "../session";
import { nowMs } from "../store/clock";
import { connected, everConnected, heardAtMs } from "../store/live";
import { isShortcutsOpen } from "./Shortcuts";
import { type Theme, theme } from "../store/preferences";
import { tellError } from "../store/toasts";

const LINKS = [
  { href: "/", label: "Queue", owns: /^\/(jobs\/.*)?$/ },
  { href: "/datasets", label: "Datasets", owns: /^\/datasets/ },
  ...(may("jobs.submit_job") ? [{ href: "/new", label: "New job", owns: /^\/new$/ }] : []),
  { href: "/workers", label: "Workers", owns: /^\/workers$/ },
  { href: "/compare", label: "Compare", owns: /^\/compare$/ },
  { href: "/models", label: "Models", owns: /^\/models$/ },
];

export function Header() {
  const { path } = useLocation();
  return (
    <header class="bar">
      <div class="bar-inner">
        <a class="brand" href="/" aria-label="Spectrain, home">
          <img src="/assets/icon.svg" alt="" width="26" height="26" />
          <span>Spectrain</span>
        </a>
        <nav class="tabs-main" aria-label="Main">
          {LINKS.map(({ href, label, owns }) => (
            <a key={href} href={href} aria-current={owns.test(path) ? "page" : undefined}>{label}</a>
          ))}
        </nav>
        <div class="bar-tools">
          <ConnectionDot />
          <button type="button" class="button button-small button-icon shortcuts-button" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick={() => { isShortcutsOpen.value = true; }}>?</button>
          <ThemeChoice />
          {session && (
            <>
              <span class="who" title={loggedIn}>{session.name} <span class="muted">{session.role}</span></span>
              <button type="button" class="button button-small" title={loggedIn} onClick={logOut}>Log out</button>
            </>
          )}
        </div>
      </div>
    </header>
  );
}

const loggedIn = `Logged in as ${session?.name}, with the role ${session?.role}`;

function logOut(): void {
  request("/session/logout", { method: "POST" }).then(() => location.assign("/login"), tellError);
}

function ConnectionDot() {
  const state = connected.value ? "Live" : everConnected.value ? "Offline" : "Connecting";
  return (
    <span class="dot" data-connected={connected.value || everConnected.value ? connected.value : undefined} title={connected.value ? "Connected: everything here is live" : "Not connected to the server"}>
      {state}
    </span>
  );
}

function ThemeChoice() {
  return (
    <select
      class="theme"
      aria-label="Theme"
      value={theme.value}
      onChange={(event) => {
        theme.value = event.currentTarget.value as Theme;
      }}
    >
      <option value="auto">Auto</option>
      <option value="light">Light</option>
      <option value="dark">Dark</option>
    </select>
  );
}

/** Says how old everything is while the server is away. */
export function OfflineBanner() {
  const isAway = everConnected.value && !connected.value;
  return (
    <div role="status">
      {isAway && (
        <p class="banner">
          Connection lost. Last update {ago((nowMs.value - heardAtMs.value) / 1000)}; trying to reconnect. Trainings go on as long as their workers run.
        </p>
      )}
    </div>
  );
}

import { useEffect, useState } from "preact/hooks";
import { CopyLine } from "../../components/CopyLine";
import { Field } from "../../components/Field";
import { Icon } from "../../components/Icon";
import { Said } from "../../components/Said";
import { ago, moment } from "../../format";
import { createToken, listTokens, revokeToken } from "../../http/api";
import { messageOf } from "../../http/request";
import { type NewToken, type Role, type Token, tokenState } from "../../model/token";
import { nowMs } from "../../store/clock";
import { tell, tellError } from "../../store/toasts";

const EXPIRIES = [
  { days: 1, label: "In one day" },
  { days: 7, label: "In a week" },
  { days: 30, label: "In 30 days" },
  { days: 365, label: "In a year" },
  { days: 0, label: "Never" },
] as const;

/** As on the command line. */
const TOKEN_DAYS = 30;

const ROLES: Readonly<Record<Role, string>> = {
  worker: "A machine",
  viewer: "A person who looks",
  member: "A person who works",
  admin: "An administrator",
};

/** Makes a token, and for a machine the one line that has it join; lists the tokens that were made. */
export function AddMachine() {
  const [tokens, setTokens] = useState<readonly Token[] | null>(null);
  const [made, setMade] = useState<NewToken | null>(null);
  const refresh = (): void => {
    listTokens().then(setTokens, tellError);
  };
  useEffect(refresh, []);
  const isMadeValid = made !== null && tokens?.find(({ id }) => id === made.id)?.revokedAt == null;
  return (
    <section class="card add-machine" aria-labelledby="add-machine">
      <div>
        <h2 id="add-machine">Add a machine or a person</h2>
        <p class="muted">Any machine that reaches this one can train for you: paste one line there, and a worker starts for each of its devices. It needs Python 3.11 or newer, and nothing else. A person logs in with a token, where this server is on a network.</p>
      </div>
      <TokenForm onMade={(token) => {
        setMade(token);
        refresh();
      }} />
      {made && isMadeValid && (
        <div class="stack new-token" role="status">
          <p><b>{made.command ? "Paste this on the other machine." : "Log in with this."}</b> It is shown this once: it holds the token {made.name}.</p>
          <CopyLine text={made.command || made.secret} label={made.command ? "Command for the other machine" : "Token"} />
          {made.note && <div class="note note-warn"><p><Said text={made.note} /></p></div>}
        </div>
      )}
      {tokens && tokens.length > 0 && <TokenList tokens={tokens} onRevoked={refresh} />}
    </section>
  );
}

function TokenForm({ onMade }: { onMade: (token: NewToken) => void }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("worker");
  const [days, setDays] = useState(TOKEN_DAYS);
  const [error, setError] = useState<unknown>(null);
  const [isSending, setSending] = useState(false);
  const send = async (): Promise<void> => {
    if (isSending) return;
    setSending(true);
    setError(null);
    try {
      onMade(await createToken(role, name.trim(), days || null));
      setName("");
    } catch (reason) {
      setError(reason);
    }
    setSending(false);
  };
  return (
    <form
      class="token-form"
      onSubmit={(event) => {
        event.preventDefault();
        void send();
      }}
    >
      <Field id="token-role" label="For">
        {(props) => (
          <select {...props} class="select" value={role} onChange={(event) => setRole(event.currentTarget.value as Role)}>
            {Object.entries(ROLES).map(([key, label]) => <option key={key} value={key}>{label}</option>)}
          </select>
        )}
      </Field>
      <Field id="token-name" label="Name" error={error === null ? undefined : messageOf(error)}>
        {(props) => <input {...props} class="input" autoComplete="off" maxLength={200} placeholder="studio-pc" value={name} onInput={(event) => setName(event.currentTarget.value)} />}
      </Field>
      <Field id="token-days" label="Token expires">
        {(props) => (
          <select {...props} class="select" value={String(days)} onChange={(event) => setDays(Number(event.currentTarget.value))}>
            {EXPIRIES.map((one) => <option key={one.days} value={String(one.days)}>{one.label}</option>)}
          </select>
        )}
      </Field>
      <button type="submit" class="button button-primary" disabled={isSending}>Make the token</button>
    </form>
  );
}

const WORDS = { valid: "Valid", expired: "Expired", revoked: "Revoked" } as const;

function TokenList({ tokens, onRevoked }: { tokens: readonly Token[]; onRevoked: () => void }) {
  const now = nowMs.value / 1000;
  const revoke = async (token: Token): Promise<void> => {
    try {
      await revokeToken(token.id);
      tell(`The token ${token.name} is worthless now.`);
      onRevoked();
    } catch (error) {
      tellError(error);
    }
  };
  return (
    <div>
      <h3 id="tokens">Tokens</h3>
      <ul class="token-list" aria-labelledby="tokens">
        {tokens.map((token) => {
          const state = tokenState(token, now);
          return (
            <li key={token.id} data-token={state}>
              <span id={`token-${token.id}`} class="token-name">{token.name}</span>
              <span class="small muted">{tokenText(token, state, now)}</span>
              {state === "valid"
                ? <button type="button" class="button button-small button-danger" aria-describedby={`token-${token.id}`} onClick={() => void revoke(token)}><Icon name="close" />Revoke</button>
                : <span class="badge tone-idle">{WORDS[state]}</span>}
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function tokenText(token: Token, state: keyof typeof WORDS, now: number): string {
  const made = `${token.role} · made ${ago(now - token.createdAt)}`;
  const used = token.lastUsedAt === null ? "never used" : `used ${ago(now - token.lastUsedAt)}`;
  const until = state === "valid" ? [token.expiresAt === null ? "never expires" : `until ${moment(token.expiresAt)}`] : [];
  return [made, used, ...until].join(" · ");
}

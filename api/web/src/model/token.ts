// Tokens that let people in and other machines join; their secrets are told once.
import type { Wire } from "./wire_types";

export type Role = Wire<"TokenRequest">["role"];

export interface Token {
  readonly id: number;
  readonly name: string;
  readonly role: string;
  readonly createdAt: number;
  readonly expiresAt: number | null;
  readonly revokedAt: number | null;
  readonly lastUsedAt: number | null;
}

export interface NewToken extends Token {
  readonly secret: string;
  /** The line to paste on the other machine; empty where it is for a person. */
  readonly command: string;
  /** What keeps other machines from joining as the server runs; empty when nothing does. */
  readonly note: string;
}

export function toToken(wire: Wire<"TokenView">): Token {
  return {
    id: wire.id,
    name: wire.name,
    role: wire.role,
    createdAt: wire.created_at,
    expiresAt: wire.expires_at,
    revokedAt: wire.revoked_at,
    lastUsedAt: wire.last_used_at,
  };
}

export type TokenState = "valid" | "expired" | "revoked";

export function tokenState(token: Token, nowS: number): TokenState {
  if (token.revokedAt !== null) return "revoked";
  return token.expiresAt !== null && token.expiresAt <= nowS ? "expired" : "valid";
}

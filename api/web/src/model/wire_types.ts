// Short names for the generated types.
import type { components } from "../wire";

export type Wire<Name extends keyof components["schemas"]> = components["schemas"][Name];

export type JobState = Wire<"JobState">;
export type Representation = Wire<"JobView">["representation"];
export type PresetName = Wire<"TrainConfig">["preset"];
export type TrainConfig = Wire<"TrainConfig">;
export type FeatureConfig = Wire<"FeatureConfig">;
export type Priority = Wire<"JobView">["priority"];
export type EventBody = Wire<"Event">["body"];

/** What is wrong with the settings of an environment. */
import { BadConfiguration, readConfig } from '../../../src/config.ts';

/** One sentence for each complaint; none where the configuration is good. */
export function complaints(environment: Readonly<Record<string, string>>): string[] {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof BadConfiguration) return error.message.split('\n');
    throw error;
  }
  return [];
}

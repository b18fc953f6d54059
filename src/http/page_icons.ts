/** The icons of pages, from the sprite views/icons.svg. A page contains the drawings of the icons that it shows. */
import { readFileSync } from 'node:fs';

export class PageIcons {
  readonly #symbols: ReadonlyMap<string, string>;

  constructor(sprite: string) {
    const symbols = readFileSync(sprite, 'utf8').matchAll(/<symbol id="icon-([\w-]+)".*?<\/symbol>/g);
    this.#symbols = new Map([...symbols].map(([symbol, name = '']) => [name, symbol]));
  }

  /** Returns the helpers of one page: `icon` refers to a drawing, and `iconSprite` has all that were referred to. */
  forPage(): { icon(name: string): string; iconSprite(): string } {
    const used = new Set<string>();
    return {
      icon: (name) => {
        if (!this.#symbols.has(name)) throw new Error(`views/icons.svg has no icon '${name}'.`);
        used.add(name);
        return `<svg class="icon" aria-hidden="true" focusable="false"><use href="#icon-${name}"/></svg>`;
      },
      iconSprite: () => {
        if (used.size === 0) return '';
        const drawings = [...used].map((name) => this.#symbols.get(name)).join('');
        return `<svg class="sprite" aria-hidden="true" focusable="false">${drawings}</svg>`;
      },
    };
  }
}

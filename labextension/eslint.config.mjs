import jupyter from '@jupyter/eslint-plugin';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig([
  { ignores: ['lib', 'node_modules', 'hubmeter', '**/*.spec.ts', '*.mjs', '*.ts'] },
  tseslint.configs.recommended,
  { plugins: { jupyter } },
  jupyter.configs.recommended,
  {
    files: ['src/**/*.ts'],
    languageOptions: { parserOptions: { project: 'tsconfig.json' } },
    rules: {
      // gettext's own signature has it
      '@typescript-eslint/no-explicit-any': 'off',
      curly: 'error',
      eqeqeq: 'error'
    }
  }
]);
